"""The faults and threats that loratui is tried against, by their numbers in the table of `make test-faults`."""

from __future__ import annotations

FAULTS = {
    "F1": "kill -9 or a refused system call anywhere in a write of the store",
    "F2": "a disk that is full, read-only or failing beneath the store",
    "F3": "several front ends and runners at one store",
    "F4": "a store that is corrupt, truncated or foreign",
    "F5": "a torn last line in the event log",
    "F6": "hangup of the terminal, front end killed",
    "F7": "logout that ends the user's processes",
    "F8": "front end on a terminal that is gone",
    "F9": "front end ended by a signal or an exception",
    "F10": "pid given to a stranger, reboot",
    "F11": "engine that is a zombie",
    "F12": "stop with child processes left behind",
    "F13": "engine tied to the life of its front end",
    "F14": "damaged or partial checkpoint",
    "F15": "two engines for one round, crash while one is started",
    "F16": "engine that hangs or is lost",
    "F17": "preemption and shutdown",
    "F18": "NVML missing, failing or crashing",
    "F19": "loss that is no number, perplexity that overflows",
    "F20": "log of a million steps",
    "F21": "log lines lost in a crash",
    "F22": "storm of terminal sizes",
    "F23": "ten thousand rounds",
    "S1": "terminal escape sequences in untrusted text",
    "S2": "markup in untrusted text",
    "S3": "bidirectional and invisible characters in untrusted text",
    "S4": "Markdown, HTML and spreadsheet formulas in exports",
    "S5": "pickles in models and checkpoints",
    "S6": "code that comes with a model",
    "S7": "paths and links that lead out of the workspace",
    "S8": "secrets in command lines, specs, logs and exports",
    "S9": "files that others may read",
    "S10": "hostile spec, preset and store files",
    "S11": "links in the place of lock files",
}

NOT_TRIED = {
    "power loss": "needs a device beneath the file system that forgets what was not synced (LazyFS, dm-log-writes)",
    "NFS": "needs a server; locks are flock(2), which NFS passes on since Linux 2.6.12",
    "GPU lost": "needs a GPU to fall off its bus; NVML's errors are played by a stand-in",
    "clock steps": "needs the right to set the clock; identities and timeouts are measured from boot",
    "logout": "needs systemd-logind; what `loginctl` says is played by a stand-in",
    "kernel's OOM killer": "would end the machine's other processes too; SIGKILL is in its place",
}
