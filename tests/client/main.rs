//! tests of client
