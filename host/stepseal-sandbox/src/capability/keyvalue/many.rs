//! `wasi:keyvalue/atomics` and `wasi:keyvalue/batch`. A step sees one value of each key and its writes are committed together or
//! not at all, so each of these is as atomic as the step: they are reads and writes of the store, and that is what the transcript has.

use wasmtime::component::Resource;

use super::{Answer, Bucket, refusal};
use crate::bindings::capabilities::{atomics, batch};
use crate::guest::Guest;
use crate::limits::BATCH_BYTES_MAX;

/// Runs a call of the store inside of another one; what the guest is told when it fails is what it is told then.
macro_rules! told {
    ($call:expr) => {
        match $call {
            Ok(value) => value,
            Err(error) => return Ok(Err(error)),
        }
    };
}

fn again(bucket: &Resource<Bucket>) -> Resource<Bucket> {
    Resource::new_borrow(bucket.rep())
}

impl atomics::Host for Guest {
    /// The number is decimal text, as other hosts keep it.
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: u64,
    ) -> Answer<u64> {
        let place = told!(
            self.keyvalue_read("get", again(&bucket), key.clone())
                .await?
        );
        let number = match self.keyvalue.value(&place) {
            None => Some(0),
            Some(value) => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<u64>().ok()),
        };
        let Some(number) = number else {
            let text = "the value under this key is not a number that can be incremented";
            return Ok(Err(refusal(text.to_owned())));
        };
        let Some(number) = number.checked_add(delta) else {
            return Ok(Err(refusal("the number would not fit 64 bits".to_owned())));
        };
        let value = number.to_string().into_bytes();
        told!(self.keyvalue_write(&bucket, key, Some(value))?);
        Ok(Ok(number))
    }
}

impl batch::Host for Guest {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Answer<Vec<Option<(String, Vec<u8>)>>> {
        let mut found = Vec::new();
        let mut bytes = 0;
        for key in keys {
            let place = told!(self.keyvalue_read("get", again(&bucket), key).await?);
            let value = self.keyvalue.value(&place).map(<[u8]>::to_vec);
            // The same key may be asked for many times, and is answered as often.
            bytes += value.as_ref().map_or(0, Vec::len);
            if bytes > BATCH_BYTES_MAX {
                return Ok(Err(refusal(format!(
                    "one get-many gives at most {BATCH_BYTES_MAX} bytes of values"
                ))));
            }
            self.charge(value.as_ref().map_or(0, Vec::len));
            found.push(value.map(|value| (place.1, value)));
        }
        Ok(Ok(found))
    }

    fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        key_values: Vec<(String, Vec<u8>)>,
    ) -> Answer<()> {
        for (key, value) in key_values {
            told!(self.keyvalue_write(&bucket, key, Some(value))?);
        }
        Ok(Ok(()))
    }

    fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Answer<()> {
        for key in keys {
            told!(self.keyvalue_write(&bucket, key, None)?);
        }
        Ok(Ok(()))
    }
}
