//! target_profile
pgrx::pg_module_magic!();
