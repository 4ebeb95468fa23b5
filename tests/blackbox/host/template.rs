//! A data directory with the guests in it, made once and copied: compiling them for each test would take most of the time.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::process::{DataDir, Host};

/// What a host left behind when it was stopped, kept in memory so that nothing is left on disk.
struct Template(Vec<Entry>);

struct Entry {
    /// Relative to the data directory.
    path: PathBuf,
    mode: u32,
    /// Absent for a directory.
    content: Option<Vec<u8>>,
}

/// A data directory of its own for one host.
pub(super) fn with_guests() -> DataDir {
    let dir = DataDir::fresh();
    template().write(&dir.path(), |_| true);
    dir
}

/// One that has compiled the guests before, and nothing else.
pub(super) fn with_compiled_guests() -> DataDir {
    let dir = DataDir::fresh();
    let kept = ["", "cache", "keys", "keys/cache.key"];
    template().write(&dir.path(), |path| {
        kept.iter().any(|kept| path == Path::new(kept)) || path.starts_with("cache")
    });
    dir
}

/// Uploads the guests of a template.
pub(super) fn upload(host: &Host) {
    for guest in ["ledger", "jq", "spending-limit", "hostile"] {
        host.upload(guest);
    }
}

fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let host = Host::empty();
        upload(&host);
        Template::read(&host.stop().path())
    })
}

impl Template {
    fn read(root: &Path) -> Self {
        let mut entries = Vec::new();
        read_into(root, Path::new(""), &mut entries);
        Self(entries)
    }

    fn write(&self, root: &Path, wanted: impl Fn(&Path) -> bool) {
        for entry in self.0.iter().filter(|entry| wanted(&entry.path)) {
            let path = root.join(&entry.path);
            match &entry.content {
                None => fs::create_dir(&path).expect("a directory can be made"),
                Some(content) => fs::write(&path, content).expect("a file can be written"),
            }
            // The host refuses keys that others may read.
            fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode))
                .expect("a mode can be set");
        }
    }
}

/// Directories before what is in them.
fn read_into(root: &Path, relative: &Path, entries: &mut Vec<Entry>) {
    let path = root.join(relative);
    let found = fs::metadata(&path).expect("it was listed");
    let content = (!found.is_dir()).then(|| fs::read(&path).expect("a file can be read"));
    let is_dir = content.is_none();
    entries.push(Entry {
        path: relative.to_owned(),
        mode: found.permissions().mode(),
        content,
    });
    if is_dir {
        for child in fs::read_dir(&path).expect("a directory can be listed") {
            let name = child.expect("a directory can be listed").file_name();
            read_into(root, &relative.join(name), entries);
        }
    }
}
