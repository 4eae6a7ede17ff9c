//! Whether a commit has to wake the worker.

use super::state::Drain;
use crate::time::Timestamp;

impl Drain {
    /// From when on an entry that is committed now could be sent, as far as the clients go. `None`: not before something else happens of
    /// which the drain is told: an answer, other settings, a change of a client. Until then a commit need wake nobody.
    pub fn listens_at(&self, now: Timestamp) -> Option<Timestamp> {
        let places = self.places();
        self.clients
            .values()
            .filter_map(|client| client.open_at(places, now))
            .min()
    }
}
