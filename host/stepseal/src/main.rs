//! The `stepseal` program.

fn main() -> std::process::ExitCode {
    stepseal::cli::main()
}
