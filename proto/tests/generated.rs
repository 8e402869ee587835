//! The checked-in protobuf code is what the `.proto` files generate.
//!
//! To regenerate after an edit: `ENDCAP_REGENERATE=1 cargo test --release -p endcap-proto --test generated`.

use std::{fs, path::Path};

fn generate(out: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = fs::read_dir(root.join("endcap/v1"))
        .expect("proto folder")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "proto"))
        .collect();
    files.sort();
    let descriptors = protox::compile(&files, [root]).expect("the .proto files compile");
    let bytes = {
        use prost::Message as _;
        descriptors.encode_to_vec()
    };
    fs::write(out.join("endcap.v1.bin"), &bytes).expect("write descriptors");
    tonic_prost_build::configure()
        .out_dir(out)
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .btree_map(".")
        .client_mod_attribute(".", "#[cfg(feature = \"services\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"services\")]")
        .compile_fds(descriptors)
        .expect("messages and stubs");
    pbjson_build::Builder::new()
        .register_descriptors(&bytes)
        .expect("descriptors parse")
        .out_dir(out)
        .btree_map(["."])
        .build(&[".endcap"])
        .expect("JSON mapping");
}

#[test]
fn checked_in_code_is_what_the_proto_files_generate() {
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    if std::env::var_os("ENDCAP_REGENERATE").is_some() {
        return generate(&checked_in);
    }
    let fresh = tempfile::tempdir().expect("temporary folder");
    generate(fresh.path());
    let mut names: Vec<_> = fs::read_dir(fresh.path())
        .expect("generated")
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["endcap.v1.bin", "endcap.v1.rs", "endcap.v1.serde.rs"]);
    for name in names {
        assert!(
            fs::read(fresh.path().join(&name)).ok() == fs::read(checked_in.join(&name)).ok(),
            "{name:?} is stale: run ENDCAP_REGENERATE=1 cargo test --release -p endcap-proto --test generated"
        );
    }
}
