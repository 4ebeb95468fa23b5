use super::*;
use clap::CommandFactory;

fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from([&["stepseal"], arguments].concat())
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_page_is_as_it_was() {
    insta::assert_snapshot!(Cli::command().term_width(100).render_help());
}

#[test]
fn every_subcommand_says_what_it_does_and_shows_an_example() {
    fn check(command: &clap::Command) {
        for sub in command
            .get_subcommands()
            .filter(|sub| sub.get_name() != "help" && !sub.is_hide_set())
        {
            let name = sub.get_name();
            assert!(
                sub.get_about().is_some(),
                "{name} does not say what it does"
            );
            if sub.has_subcommands() {
                check(sub);
            } else {
                let after = sub
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(after.starts_with("Example:\n  "), "{name} shows no example");
            }
        }
    }
    check(&Cli::command());
}

#[test]
fn global_options_are_understood_after_the_subcommand() {
    let cli = parse(&["task", "list", "--output", "json", "--data", "elsewhere"]).unwrap();
    assert_eq!(cli.global.output, Format::Json);
    assert_eq!(cli.global.data, PathBuf::from("elsewhere"));
}

#[test]
fn a_wrong_command_line_is_usage() {
    for wrong in [
        &["frobnicate"][..],
        &["verify"],
        &["verify", "a.json"],
        &["task", "submit", "-", "--wait", "61"],
    ] {
        assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
    }
}

#[test]
fn exit_codes_tell_usage_from_an_unreachable_host_from_a_no() {
    let unreachable = ClientError::Unreachable {
        url: "http://127.0.0.1:1".to_owned(),
        why: "refused".to_owned(),
    };
    assert_eq!(exit_code(&unreachable.into()), 3);
    assert_eq!(exit_code(&ConfigError::NoHost("x".into()).into()), 3);
    assert_eq!(
        exit_code(&ConfigError::NoToken("http://x".to_owned()).into()),
        2
    );
    assert_eq!(exit_code(&Usage("no".to_owned()).into()), 2);
    assert_eq!(exit_code(&anyhow::anyhow!("anything else")), 1);
}

#[test]
fn the_exit_code_survives_an_explanation() {
    use anyhow::Context as _;
    let error = Err::<(), _>(ConfigError::NoHost("x".into()))
        .context("while submitting")
        .unwrap_err();
    assert_eq!(exit_code(&error), 3);
}
