use std::io::Read;
fn main() {
    let mut s = String::new();
    std::io::stdin().read_to_string(&mut s).unwrap();
    for case in s.split("\n----\n") {
        println!("{case}");
        let p = fgc_grammar::parse(case);
        for e in &p.errors {
            let line = 1 + case[..e.span.start].matches('\n').count();
            println!(
                "    => {line} {:?} {} {}\n       help: {}",
                &case[e.span.start..e.span.end],
                e.code,
                e.message,
                e.help.as_deref().unwrap_or("-")
            );
        }
        if p.errors.is_empty() {
            println!("    => OK");
        }
        println!();
    }
}
