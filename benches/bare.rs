//! The floor of a drain: a bare loop of requests, with the settings of `src/client`, and nothing beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::redirect;

/// Requests a second of a loop on one thread, as the worker's I/O thread is one.
pub fn rate(urls: &Arc<Vec<String>>, concurrency: usize) -> f64 {
    let urls = Arc::clone(urls);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        runtime.block_on(run(urls, concurrency))
    });
    thread.join().expect("the loop ends")
}

async fn run(urls: Arc<Vec<String>>, concurrency: usize) -> f64 {
    let http = client(concurrency);
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = (0..concurrency)
        .map(|_| {
            let (http, urls, next) = (http.clone(), Arc::clone(&urls), Arc::clone(&next));
            tokio::spawn(async move {
                while let Some(url) = urls.get(next.fetch_add(1, Ordering::Relaxed)) {
                    exchange(&http, url).await.expect("the stand-in answers");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no request fails");
    }
    urls.len() as f64 / started.elapsed().as_secs_f64()
}

async fn exchange(http: &reqwest::Client, url: &str) -> Result<Vec<u8>, reqwest::Error> {
    let mut response = http.get(url).timeout(Duration::from_secs(10)).send().await?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// As `src/client/transport.rs` makes it.
fn client(idle_connections: usize) -> reqwest::Client {
    // The second call in a process finds the provider in place.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(Duration::from_secs(10))
        .pool_max_idle_per_host(idle_connections)
        .tcp_nodelay(true)
        .http1_only()
        .retry(reqwest::retry::never())
        .user_agent("target_profile benchmark")
        .build()
        .expect("an HTTP client can be made")
}
