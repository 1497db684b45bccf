//! The binary as a user runs it, as processes of their own.

mod bad_input;
mod check;
mod doctor;
mod process;
mod run;
mod trajectories;
mod tutorial;
