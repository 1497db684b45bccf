pub mod derive;
pub mod graph;
