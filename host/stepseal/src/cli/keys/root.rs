//! `stepseal keys root`: the offline key that vouches for trust files.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use stepseal_receipts::keys::PublicKey;
use stepseal_receipts::trust::{SIGNATURE_BYTES_MAX, TrustFile, check_vouched};

use super::super::{Answer, Context, Usage, files};

/// The offline key that vouches for trust files.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Root {
    /// Make a key pair, on a machine that is kept apart from the host: no host is asked.
    #[command(
        after_help = "Example:\n  stepseal keys root init --out root.pem\n  stepseal keys trust --sign root.pem --out trust.json\n\n\
        It prints the public key. Verifiers who have that take newer trust files from anywhere: stepseal verify --trust-root."
    )]
    Init(Init),
}

/// What `keys root init` is given.
#[derive(Args, Debug)]
pub(in crate::cli) struct Init {
    /// Where to put the private key.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Root {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        match self {
            Self::Init(command) => super::made(context, &files::make_key(&command.out)?),
        }
    }
}

/// Where the signature of a trust file is: beside it.
pub(in crate::cli) fn signature_of(trust: &Path) -> PathBuf {
    let mut path = trust.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

/// Reads a trust file that a root key vouches for: one that is named by its base64, or one of those that a trust file lists which is
/// believed already.
pub(in crate::cli) fn read_vouched(trust: &Path, believed: &str) -> anyhow::Result<TrustFile> {
    let bytes = files::read(trust, "the trust file", files::TRUST_BYTES_MAX)?;
    let roots = if let Ok(root) = PublicKey::from_spki_base64(believed) {
        vec![root]
    } else {
        let old = files::read(
            Path::new(believed),
            "the trust file",
            files::TRUST_BYTES_MAX,
        )?;
        let old = TrustFile::parse(&old)
            .with_context(|| format!("{believed} is neither a root key nor a trust file"))?;
        old.root
    };
    if roots.is_empty() {
        let usage =
            format!("{believed} lists no root key, so nobody can vouch for another trust file");
        return Err(Usage(usage).into());
    }
    let path = signature_of(trust);
    let signature = files::read(
        &path,
        "the signature of the trust file",
        SIGNATURE_BYTES_MAX as u64,
    )?;
    check_vouched(&bytes, &signature, &roots)
        .with_context(|| format!("{} is not believed", trust.display()))?;
    TrustFile::parse(&bytes).with_context(|| format!("{} is not a trust file", trust.display()))
}
