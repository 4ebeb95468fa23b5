//! Writes what the fuzzers start from, made anew each time; each must be a plugin that runs.

use std::fs;
use std::path::PathBuf;

// Everything is built to tell libFuzzer where it is, so somebody has to listen.
use libfuzzer_sys as _;
use stepseal_fuzz_sandbox::{Realloc, main_modules, plugin, upload_and_run};

fn main() {
    let directory = PathBuf::from(std::env::args().nth(1).expect("a directory to write to"));
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let directory = directory.join(target);
        fs::create_dir_all(&directory).expect("the directory can be made");
        fs::write(directory.join(name), bytes).expect("the seed can be written");
    };
    for (number, module) in main_modules().iter().enumerate() {
        for (name, realloc) in [("libc", Realloc::Libc), ("main", Realloc::Main)] {
            let component = plugin(module, realloc);
            assert!(upload_and_run(&component), "seed {number} is refused");
            write("bytes", &format!("{name}-{number}"), &component);
        }
        write("mutants", &number.to_string(), module);
    }
    // The others are made up from any bytes.
    for target in ["modules", "components"] {
        write(target, "any", &[7; 256]);
    }
}
