//! What the end-to-end tests and the demo stand on: a stand-in for Target and throwaway clusters.
