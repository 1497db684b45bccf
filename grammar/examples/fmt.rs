fn main() {
    for path in std::env::args().skip(1) {
        let s = std::fs::read_to_string(&path).unwrap();
        match fgc_grammar::format(&s) {
            Ok(t) => print!("{t}"),
            Err(e) => println!("{e:?}"),
        }
    }
}
