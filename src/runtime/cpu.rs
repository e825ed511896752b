//! How many CPUs this process may use, and which.

use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};

const CGROUP_ROOT: &str = "/sys/fs/cgroup";
const CGROUP_V1_ROOT: &str = "/sys/fs/cgroup/cpu";

/// The CPUs of this process's affinity mask, no more of them than the cgroup's quota pays for; never empty.
pub(super) fn allowed() -> io::Result<Vec<usize>> {
    let mut cpus = affinity()?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    if let Some(quota) = quota(&groups, |path| fs::read_to_string(path).ok()) {
        cpus.truncate(quota.max(1));
    }
    Ok(cpus)
}

/// The CPUs of the calling thread's affinity mask.
fn affinity() -> io::Result<Vec<usize>> {
    // SAFETY: a mask of zeros is the empty set.
    let mut mask: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes at most the given size into the mask.
    if unsafe { libc::sched_getaffinity(0, mem::size_of_val(&mask), &mut mask) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the loop stays within the set's size.
    let cpus = (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &mask) });
    Ok(cpus.collect())
}

/// Binds the calling thread to one CPU.
pub(super) fn pin(cpu: usize) -> io::Result<()> {
    // SAFETY: a mask of zeros is the empty set.
    let mut mask: libc::cpu_set_t = unsafe { mem::zeroed() };
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the number was checked to be within the set.
    unsafe { libc::CPU_SET(cpu, &mut mask) };
    // SAFETY: the kernel reads the given size of the mask.
    if unsafe { libc::sched_setaffinity(0, mem::size_of_val(&mask), &mask) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whole CPUs, rounded up, that the cgroups named in `groups` (the form of `/proc/self/cgroup`) pay for.
fn quota(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
    let unified = group_of(groups, |controllers| controllers.is_empty());
    let limits = unified.into_iter().flat_map(|group| ancestors(CGROUP_ROOT, group));
    let v2 = limits.filter_map(|folder| quota_v2(&read(&folder.join("cpu.max"))?)).min();
    if v2.is_some() {
        return v2;
    }
    let legacy = group_of(groups, |controllers| controllers.split(',').any(|name| name == "cpu"));
    let limits = legacy.into_iter().flat_map(|group| ancestors(CGROUP_V1_ROOT, group));
    let of_folder =
        |folder: PathBuf| quota_v1(&read(&folder.join("cpu.cfs_quota_us"))?, &read(&folder.join("cpu.cfs_period_us"))?);
    limits.filter_map(of_folder).min()
}

/// The path of the group whose controllers are wanted.
fn group_of(groups: &str, wanted: impl Fn(&str) -> bool) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        let path = parts.next()?;
        wanted(controllers).then_some(path)
    })
}

/// The group's folder and all above it, up to the root: every one of them may hold a quota. In a container the path
/// may be the host's; then only the root exists.
fn ancestors(root: &'static str, group: &str) -> Vec<PathBuf> {
    let folder = Path::new(root).join(group.trim_start_matches('/'));
    folder.ancestors().take_while(|folder| folder.starts_with(root)).map(Path::to_path_buf).collect()
}

/// `cpu.max`: `max 100000` or `150000 100000`.
fn quota_v2(text: &str) -> Option<usize> {
    let mut parts = text.split_whitespace();
    let (limit, period) = (parts.next()?, parts.next()?);
    whole_cpus(limit.parse().ok()?, period.parse().ok()?)
}

/// `cpu.cfs_quota_us`, -1 for none, and `cpu.cfs_period_us`.
fn quota_v1(limit: &str, period: &str) -> Option<usize> {
    whole_cpus(limit.trim().parse().ok()?, period.trim().parse().ok()?)
}

fn whole_cpus(limit: u64, period: u64) -> Option<usize> {
    if period == 0 {
        return None;
    }
    usize::try_from(limit.div_ceil(period)).ok().filter(|cpus| *cpus > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota_with(groups: &str, files: &[(&str, &str)]) -> Option<usize> {
        quota(groups, |path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn a_quota_of_one_and_a_half_cpus_allows_two() {
        let files = [("/sys/fs/cgroup/cpu.max", "150000 100000\n")];
        assert_eq!(quota_with("0::/\n", &files), Some(2));
    }

    #[test]
    fn the_tightest_group_on_the_way_up_counts() {
        let files = [("/sys/fs/cgroup/a/cpu.max", "100000 100000"), ("/sys/fs/cgroup/a/b/cpu.max", "max 100000")];
        assert_eq!(quota_with("0::/a/b\n", &files), Some(1));
    }

    #[test]
    fn without_a_limit_there_is_no_quota() {
        assert_eq!(quota_with("0::/\n", &[("/sys/fs/cgroup/cpu.max", "max 100000\n")]), None);
        assert_eq!(quota_with("", &[]), None);
    }

    #[test]
    fn version_one_groups_are_read_too() {
        let files = [
            ("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "250000\n"),
            ("/sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(quota_with("4:cpu,cpuacct:/box\n1:name=systemd:/\n", &files), Some(3));
        let unlimited = [
            ("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(quota_with("4:cpu,cpuacct:/box\n", &unlimited), None);
    }

    #[test]
    fn this_process_may_use_some_cpu() {
        assert!(!allowed().unwrap().is_empty());
    }
}
