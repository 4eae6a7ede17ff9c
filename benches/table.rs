//! The table, printed as it grows: a whole run takes minutes.

use std::time::Instant;

/// What is printed.
pub struct Table {
    started: Instant,
    missed: usize,
    judged: usize,
}

/// One line of it.
pub struct Line<'a> {
    /// What was measured.
    pub what: &'a str,
    /// The figure.
    pub measured: String,
    /// What it is compared with.
    pub floor: String,
    /// The figure that is judged.
    pub ratio: f64,
    /// What it must be.
    pub required: Required,
}

/// What a ratio must be.
#[derive(Clone, Copy)]
pub enum Required {
    AtLeast(f64),
    AtMost(f64),
    /// Printed for the reader's own judgement.
    Nothing,
}

impl Table {
    pub fn begin() -> Self {
        println!(
            "{:<44} {:>17} {:>31} {:>7} {:>9}  reached",
            "what", "measured", "floor", "ratio", "required"
        );
        Self {
            started: Instant::now(),
            missed: 0,
            judged: 0,
        }
    }

    pub fn line(&mut self, line: Line<'_>) {
        let Line {
            what,
            measured,
            floor,
            ratio,
            required,
        } = line;
        let (required, reached) = match required {
            Required::AtLeast(least) => (format!(">= {least}"), Some(ratio >= least)),
            Required::AtMost(most) => (format!("<= {most}"), Some(ratio <= most)),
            Required::Nothing => ("-".to_owned(), None),
        };
        self.judged += usize::from(reached.is_some());
        self.missed += usize::from(reached == Some(false));
        let reached = reached.map_or("-", |reached| if reached { "yes" } else { "NO" });
        println!("{what:<44} {measured:>17} {floor:>31} {ratio:>7.2} {required:>9}  {reached}");
    }

    /// What one must know of the lines above or below it.
    pub fn note(&self, text: &str) {
        println!("    {text}");
    }

    pub fn end(self) {
        println!(
            "{} of {} reached, in {:.0} s",
            self.judged - self.missed,
            self.judged,
            self.started.elapsed().as_secs_f64()
        );
    }
}

/// The middle one; of an even number the lower of the two.
pub fn median(mut figures: Vec<f64>) -> f64 {
    percentile(&mut figures, 0.5)
}

/// The smallest figure that so great a part of the figures does not exceed.
pub fn percentile(figures: &mut [f64], part: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let rank = (figures.len() as f64 * part).ceil() as usize;
    figures.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Lowest and highest.
pub fn spread(figures: &[f64]) -> String {
    let low = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let high = figures.iter().copied().fold(0.0, f64::max);
    format!("{low:.0} to {high:.0}")
}
