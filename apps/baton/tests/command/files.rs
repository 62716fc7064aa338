//! `baton file`, and files of a server that is stopped and started again.

use crate::support::{PATIENT, World, run, stderr, stdout, told};

#[test]
fn a_file_is_put_listed_and_fetched_and_outlives_its_server() {
    let mut world = World::new(PATIENT);
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 7 % 251) as u8).collect();
    std::fs::write(world.path("a b.bin"), &bytes).unwrap();
    let from = world.path("a b.bin").display().to_string();
    let put = world.json(&["file", "put", "film/out/ü 1.bin", &from]);
    assert_eq!((&put["size"], &put["path"]), (&3_000_000.into(), &"out/ü 1.bin".into()));
    world.kill_server();
    world.restart_server();
    let to = world.path("b.bin").display().to_string();
    world.run(&["file", "get", "film/out/ü 1.bin", &to], 0);
    assert!(std::fs::read(world.path("b.bin")).unwrap() == bytes);
    let piped = run(world.command(&["file", "get", "film/out/ü 1.bin", "-"]), 0);
    assert!(piped.stdout == bytes);
    let list = stdout(&run(world.command(&["file", "list", "--project", "film", "--prefix", "out/"]), 0));
    assert!(list.contains("film/out/ü 1.bin") && list.contains("3000000"), "{list}");
    let none = run(world.command(&["file", "get", "film/none", &to]), 3);
    assert!(stderr(&none).contains("there is no file film/none"), "{}", told(&none));
    let unread = run(world.command(&["file", "put", "film/a", "/nowhere"]), 1);
    assert!(stderr(&unread).contains("cannot read /nowhere"), "{}", told(&unread));
    assert!(world.path("baton.db-files").is_dir());
}
