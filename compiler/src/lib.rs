pub mod derive;
pub mod graph;
pub mod simplify;
