//! Checks on a program.
