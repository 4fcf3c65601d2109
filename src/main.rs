//! The program: see [`caxton::cli`].

fn main() -> std::process::ExitCode {
    caxton::cli::main()
}
