//! How the clients share the requests that may be in flight.

/// The places in flight that are free at the moment.
///
/// Any client may take them, but for the last ones. Of those a client with nothing in flight may take one. It takes more
/// only as long as there is one for every other client with nothing in flight, and as many as it has itself.
/// So clients whose endpoints hang leave some to a client that comes later. Nothing is kept where no other client may come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) free: usize,
    pub(super) kept: usize,
    /// Clients with nothing in flight.
    pub(super) idle: usize,
}

impl Places {
    /// How many more places a client may take, given its requests in flight.
    pub(super) fn left_to(self, in_flight: usize) -> usize {
        let open = self.free.saturating_sub(self.kept);
        let (left, has) = (self.free - open, in_flight + open);
        let others = self.idle.saturating_sub(usize::from(in_flight == 0));
        // With each that it takes it has one more, and one less is free.
        let more = left.saturating_sub(others + has).div_ceil(2);
        open + more.max(usize::from(has == 0 && left > 0))
    }

    /// A client takes a place, given its requests in flight.
    pub(super) fn take(&mut self, in_flight: usize) {
        self.free = self.free.saturating_sub(1);
        if in_flight == 0 {
            self.idle = self.idle.saturating_sub(1);
        }
    }
}
