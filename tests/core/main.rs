//! tests of core
