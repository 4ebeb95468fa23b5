//! Key-value buckets as the database keeps them. The sandbox has words of its own for them: neither knows the other, the engine
//! translates.

/// A value and the version its last write gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Vec<u8>,
    /// Above 0, and never the same again for this key.
    pub version: u64,
}

/// Some keys of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// Ascending.
    pub keys: Vec<String>,
    /// The bucket's version; 0 for a bucket never written.
    pub bucket_version: u64,
}

/// What a step read, to be checked, and wrote, to be kept, in one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValueChanges {
    /// Each key that was read, once.
    pub reads: Vec<Read>,
    /// Each bucket whose keys were listed, once.
    pub listed: Vec<Listed>,
    /// The last write of each key.
    pub writes: Vec<Write>,
}

/// A key that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The version it had; 0 if it was not there.
    pub version: u64,
}

/// A bucket whose keys were listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The bucket.
    pub bucket: String,
    /// The version it had.
    pub version: u64,
}

/// A key to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The value; `None` deletes.
    pub value: Option<Vec<u8>>,
}
