//! Hugepages: what is reserved at start, pools and tables on them, nothing left behind. Needs free 2 MiB pages and the
//! right to lock them; says so and passes where there are none.

use std::fs;

use dpdk_sys::{Eal, EalArgs, Memory, Pool, PoolArgs, Port, memzone};

const FREE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";

fn free_pages() -> u32 {
    fs::read_to_string(FREE).ok().and_then(|s| s.trim().parse().ok()).unwrap_or(0)
}

#[test]
fn pools_and_tables_lie_on_hugepages() {
    let before = free_pages();
    if before < 128 {
        println!("skipped: {before} free hugepages of 2 MiB, 128 are needed");
        return;
    }
    let arguments = EalArgs { memory: Memory::Huge { per_node_mb: vec![128] }, ..EalArgs::ordinary(0, 0) };
    let eal = Eal::start(&arguments).unwrap();
    let reserved = free_pages();
    assert!(before - reserved >= 64, "128 MiB were reserved at start: {before} → {reserved}");
    // 16,383 buffers of about 2.4 KiB fit in what was reserved, close together.
    let pool = Pool::create(
        &eal,
        &PoolArgs { name: "p", count: 16_383, cache: 256, data_bytes: 2048, socket: Some(0), shared_cpus: false },
    )
    .unwrap();
    let table = memzone::reserve(&eal, "table", 1 << 20, Some(0)).unwrap();
    assert_eq!((pool.available(), table.len()), (16_383, 1 << 20));
    assert_eq!(free_pages(), reserved, "and took no page more");
    assert!(Port::attach(&eal, "net_null0").is_ok());
    // --in-memory: no file is left in any hugetlbfs.
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    for mount in mounts.lines().filter(|l| l.split(' ').nth(2) == Some("hugetlbfs")) {
        let folder = mount.split(' ').nth(1).unwrap();
        let files: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
        assert!(files.iter().all(|f| !f.to_string_lossy().starts_with("rtemap")), "{folder}: {files:?}");
    }
}
