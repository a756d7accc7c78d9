//! Serves a directory as a repository of a hub on this machine, for `tools/hub/cache.py`:
//! `cargo run --release -p ueo-hub --example local_hub -- OWNER/NAME DIRECTORY`.
//!
//! Prints the address and every request, and ends with its standard input.

#[path = "../tests/hub/server.rs"]
mod server;

use std::io::Read;
use std::path::Path;
use std::thread;
use std::time::Duration;

use server::{Repository, Server};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, directory] = arguments.as_slice() else {
        eprintln!("expected OWNER/NAME and a directory");
        std::process::exit(2);
    };
    let server = Server::start(name, Repository::of(Path::new(directory)));
    println!("{}", server.endpoint);
    let endpoint = server.clone();
    thread::spawn(move || {
        loop {
            for request in server.take_requests() {
                println!("{} {}", request.method, request.path);
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(endpoint);
}
