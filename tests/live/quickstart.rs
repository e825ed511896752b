//! What a newcomer sees first.

use std::process::Command;

use crate::stage::{Gateway, run};

#[test]
fn the_printed_lines_of_the_quickstart_work() {
    let gateway = match Gateway::quickstart() {
        Ok(gateway) => gateway,
        Err(told) if told.contains("in use") => return eprintln!("skipped, a port of the quickstart is taken: {told}"),
        Err(told) => panic!("the quickstart does not start: {told}"),
    };
    let told = gateway.told();
    let lines: Vec<&str> = told.lines().map(str::trim).filter(|line| line.starts_with("curl ")).collect();
    assert_eq!(lines.len(), 3, "{told}");
    for line in &lines {
        let output = run(Command::new("sh").arg("-c").arg(line));
        assert!(output.status.success(), "{line}");
    }
    let first = run(Command::new("sh").arg("-c").arg(lines[0]));
    let first = String::from_utf8_lossy(&first.stdout).into_owned();
    assert!(first.starts_with("HTTP/1.1 200") && first.contains("demo upstream"), "{first}");
    let order = run(Command::new("sh").arg("-c").arg(lines[1]));
    assert!(String::from_utf8_lossy(&order.stdout).contains("/internal/orders/42"), "{order:?}");
}
