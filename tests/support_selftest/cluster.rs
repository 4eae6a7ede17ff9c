//! The life of a cluster.

use std::time::Duration;

use support::{Cluster, Mode, sqlstate};

const DEADLINE: Duration = Duration::from_secs(20);

fn small(name: &str) -> Cluster {
    Cluster::builder(name)
        .preload(false)
        .fsync(false)
        .conf("max_prepared_transactions", 5)
        .build()
}

#[test]
fn life_cycle() {
    let cluster = Cluster::builder("life").preload(false).build();
    let db = cluster.db();
    assert_eq!(db.text("show fsync"), "on");
    db.batch("create table t (a int); insert into t values (1)");
    let modes = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(cluster.dir()).unwrap());
    assert_eq!(modes & 0o777, 0o700);
    cluster.stop(Mode::Fast);
    assert!(!cluster.is_running() && db.is_closed());
    cluster.start();
    cluster.restart(Mode::Immediate);
    assert_eq!(cluster.db().text("select a from t"), "1");
    assert!(cluster.log_contains("automatic recovery in progress"));
    cluster.stop(Mode::Smart);
    assert!(cluster.try_client("postgres", "postgres").is_err());
}

#[test]
fn every_process_goes_when_the_postmaster_is_killed() {
    let cluster = small("crash");
    let db = cluster.db();
    db.batch("create table t (a int); insert into t values (1)");
    db.batch("begin; insert into t values (2)");
    let (postmaster, processes) = (cluster.postmaster(), cluster.processes());
    assert!(
        processes.len() > 4
            && processes
                .iter()
                .any(|process| process.pid == u32::try_from(db.pid()).unwrap())
    );
    cluster.crash();
    assert!(!cluster.is_running() && !postmaster.is_alive() && !processes.iter().any(|process| process.is_alive()));
    cluster.start();
    assert_eq!(cluster.db().text("select count(*) from t"), "1");
    cluster.power_loss();
    assert!(!cluster.is_running());
    cluster.start();
    assert_eq!(cluster.db().text("select count(*) from t"), "1");
}

#[test]
fn killed_backend_restarts_the_server() {
    let cluster = small("kill9");
    let (db, other) = (cluster.db(), cluster.db());
    let mark = cluster.log_mark();
    cluster.kill9(db.pid());
    cluster.wait_log_since(mark, "terminated by signal 9", DEADLINE);
    support::wait::until("a new session", DEADLINE, || {
        cluster.try_client("postgres", "postgres").ok()
    });
    assert!(db.is_closed() && other.is_closed());
}

#[test]
fn stopped_backend_is_continued_and_does_not_hold_up_the_drop() {
    let cluster = small("freeze");
    let (db, frozen) = (cluster.db(), cluster.db());
    cluster.sigstop(frozen.pid());
    cluster.sigcont(frozen.pid());
    assert_eq!(frozen.text("select 1"), "1");
    cluster.sigstop(frozen.pid());
    assert_eq!(db.text("select 1"), "1");
    let start = std::time::Instant::now();
    drop(cluster);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn only_own_processes_are_touched() {
    let cluster = small("others");
    let me = i32::try_from(std::process::id()).unwrap();
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cluster.kill9(me)));
    let message = failed.unwrap_err();
    let message = message.downcast_ref::<String>().unwrap();
    assert!(message.contains("is no process of cluster"), "{message}");
}

#[test]
fn settings() {
    let cluster = Cluster::builder("settings")
        .preload(false)
        .fsync(false)
        .conf("work_mem", "5MB")
        .conf("my.x", "it's")
        .build();
    assert_eq!(cluster.db().text("show fsync"), "off");
    assert_eq!(cluster.db().text("show work_mem"), "5MB");
    assert_eq!(cluster.db().text("show my.x"), "it's");
    let shared = support::repository().join("pgrx-config/postgresql.conf");
    if std::fs::read_to_string(shared).is_ok_and(|text| text.contains("\njit = off\n")) {
        assert_eq!(
            cluster.db().text("show jit"),
            "off",
            "the settings that all test clusters share"
        );
    }
    cluster.set("work_mem", "6MB");
    assert_eq!(cluster.db().text("show work_mem"), "6MB");
    cluster.reset("work_mem");
    assert_eq!(cluster.db().text("show work_mem"), "5MB");
    let broken = Cluster::builder("broken")
        .preload(false)
        .conf("shared_buffers", "nonsense")
        .build_stopped();
    assert!(!broken.try_start().status.success());
    assert!(broken.log_contains("nonsense"));
}

#[test]
fn sessions() {
    let cluster = small("sessions");
    let db = cluster.db();
    assert_eq!(db.value::<i64>("select $1::bigint + 1", &[&41i64]), 42);
    assert_eq!(
        db.query_one("select $1::jsonb", &[&serde_json::json!({"a": 1})])
            .get::<_, serde_json::Value>(0)["a"],
        1
    );
    let error = db.try_batch("select 1/0").unwrap_err();
    assert_eq!(sqlstate(&error), "22012");
    db.batch("do $$ begin raise warning 'one'; raise notice 'two' using detail = 'more'; end $$");
    let notices = db.take_notices();
    assert_eq!(
        notices.iter().map(|notice| notice.message()).collect::<Vec<_>>(),
        ["one", "two"]
    );
    assert!(db.take_notices().is_empty());
    assert_eq!(
        db.rows("select 1, null; select 'x', 'y'"),
        [[Some("1".into()), None], [Some("x".into()), Some("y".into())]]
    );
    db.batch("create role clerk login");
    let clerk = cluster.client("postgres", "clerk");
    assert_eq!(clerk.text("select current_user"), "clerk");
    assert_eq!(
        sqlstate(&clerk.try_execute("create database x", &[]).unwrap_err()),
        "42501"
    );
    let statement = db.prepare("select $1::int * 2");
    assert_eq!(db.query_prepared(&statement, &[&4])[0].get::<_, i32>(0), 8);
    db.batch("create table t (a int, b text)");
    assert_eq!(db.copy_in("copy t from stdin (format csv)", b"1,x\n2,y\n".to_vec()), 2);
    assert_eq!(
        sqlstate(
            &db.try_copy_in("copy t from stdin (format csv)", b"a,x\n".to_vec())
                .unwrap_err()
        ),
        "22P02"
    );
    assert_eq!(db.execute("delete from t where a = $1", &[&1]), 1);
    assert!(cluster.backend_pid("walwriter").is_some());
    assert_eq!(
        cluster.wait_backend("checkpoint%", DEADLINE),
        cluster.backend_pid("checkpointer").unwrap()
    );
    let other = cluster.db();
    other.batch("set application_name to 'passing guest'");
    drop(other);
    cluster.wait_no_backend("passing guest", DEADLINE);
}

#[test]
fn sessions_over_tcp_need_the_password() {
    let cluster = small("tcp");
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(cluster.port())
        .user("postgres")
        .dbname("postgres");
    assert!(support::Db::connect_as(&config).is_err());
    config.password(cluster.password());
    assert_eq!(support::Db::connect_as(&config).unwrap().text("select 1"), "1");
}

#[test]
fn waiting_for_sql() {
    let cluster = small("wait");
    let db = cluster.db();
    db.batch("create table t (a int)");
    std::thread::scope(|scope| {
        scope.spawn(|| cluster.db().batch("select pg_sleep(0.05); insert into t values (1)"));
        cluster.wait_sql(&db, "select count(*) = 1 from t", DEADLINE);
    });
    cluster.wait_text(&db, "select a from t", "1", DEADLINE);
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        cluster.wait_sql(&db, "select count(*) = 2 from t", Duration::from_millis(30));
    }));
    let message = failed.unwrap_err();
    let message = message.downcast_ref::<String>().unwrap();
    assert!(
        message.contains("select count(*) = 2 from t\nlast value: Some(false)"),
        "{message}"
    );
}

#[test]
fn dump_and_restore() {
    let (from, to) = (small("from"), small("to"));
    from.create_db("crm")
        .batch("create table t (a text); insert into t values ('Zürich')");
    for (name, arguments) in [("plain", vec!["crm"]), ("custom", vec!["-Fc", "crm"])] {
        to.create_db(name);
        to.restore(name, &from.pg_dump(&arguments));
        assert_eq!(to.psql(name, "select a from t"), "Zürich");
    }
    assert!(!to.try_restore("plain", b"select 1/0;").status.success());
    assert!(!to.try_psql("plain", "select nothing").status.success());
    assert_eq!(to.psql("plain", "select 1 as a, 2 as b; select 3"), "1|2\n3");
}

#[test]
fn base_backup_and_standby() {
    let primary = small("primary");
    let db = primary.db();
    db.batch("create table t (a int); insert into t values (1)");
    let copy = primary.base_backup("copy").build();
    let standby = primary.standby("standby").conf("hot_standby_feedback", "on").build();
    assert_ne!(copy.port(), primary.port());
    assert_eq!(copy.db().text("select pg_is_in_recovery()"), "f");
    let replica = standby.db();
    assert_eq!(replica.text("select pg_is_in_recovery()"), "t");
    db.batch("insert into t values (2)");
    standby.wait_sql(&replica, "select count(*) = 2 from t", DEADLINE);
    assert_eq!(copy.db().text("select count(*) from t"), "1");
    primary.stop(Mode::Immediate);
    standby.promote();
    replica.batch("insert into t values (3)");
}

#[test]
fn clusters_do_not_share_anything() {
    let start = std::time::Instant::now();
    let clusters: Vec<Cluster> = (0..3).map(|_| small("same")).collect();
    println!("three clusters in {:?}", start.elapsed());
    for cluster in &clusters {
        cluster.db().batch("create database mine");
    }
    let dirs: Vec<_> = clusters.iter().map(|cluster| cluster.dir().to_path_buf()).collect();
    let postmasters: Vec<_> = clusters.iter().map(Cluster::postmaster).collect();
    let children: Vec<_> = clusters.iter().flat_map(Cluster::processes).collect();
    drop(clusters);
    assert!(!dirs.iter().any(|dir| dir.exists()));
    assert!(
        !postmasters.iter().chain(&children).any(|process| process.is_alive()),
        "a drop leaves no process"
    );
}

#[test]
fn crash_that_the_test_did_not_make_fails_it() {
    let outcome = std::thread::spawn(|| {
        let cluster = small("crash");
        let db = cluster.db();
        let pid = db.pid();
        // As the server itself does when it runs into a fault: the cluster knows of no signal.
        db.try_batch(&format!("copy (select 1) to program 'kill -SEGV {pid}'"))
            .ok();
        cluster.wait_log("was terminated by signal 11", DEADLINE);
    })
    .join();
    let message = outcome.expect_err("the cluster's end has failed");
    let message = message.downcast_ref::<String>().unwrap();
    assert!(message.contains("has crashed by itself"), "{message}");
}
