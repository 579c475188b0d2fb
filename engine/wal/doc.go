// Package wal is the durable log in front of the lake: what Append has returned
// for survives a crash, and is read back in order until it is truncated.
//
// It has three types worth saying aloud: Log, Record and LSN. A Log stores
// groups. A group holds the records of all Append calls that arrived while the
// group before it was being written; it costs one fsync, is numbered by one LSN
// and is there whole or not at all. The log has no goroutine that outlives a group:
// the first caller of a group writes it, or, with Post, a goroutine does.
//
// Files in Options.Dir:
//
//	meta-0, meta-1                   list of segments, written in turn (see meta.go)
//	<base LSN>-<segment id>.wal      segments of github.com/hashicorp/raft-wal
//
// One group is one raft-wal entry; raft-wal adds an entry header, a commit frame
// with a checksum and, when it closes a segment, an index. The entry is, little-endian:
//
//	0         1            4          8       16        24        28        32
//	+---------+------------+----------+-------+---------+---------+---------+----------
//	| version | 'm' 'w' 'g'| crc32c   | lsn   | written | length  | records | frames…
//	|   = 1   |            |          |       | µs UTC  | frames  |         |
//	+---------+------------+----------+-------+---------+---------+---------+----------
//
// crc32c covers every other byte of the entry. The frames are the records, each
// a uvarint length and that many bytes (see Frame).
//
// Invariants:
//   - LSNs start at 1 (or Options.Next), have no gaps and are never reused; the
//     last group is removed only by Shred, which leaves a segment that starts
//     with the next number, so that this holds over restarts.
//   - A group is acknowledged only after fsync. Append's error means that none of
//     its records were acknowledged, never that they may be half there.
//   - Open accepts a log only if every group it holds is intact. The remains of
//     one unfinished write at the very end are removed; any other damage is a
//     CorruptError, and nothing is repaired by guessing.
//
// What Open can and cannot tell apart. An unfinished write is the last one, and
// leaves at least one whole 512-byte sector, or an aligned 8-byte word of its
// framing, unwritten. Damage is reported when an intact group follows it, when
// the write it hit was complete in that sense, or when it hit a group known to be
// acknowledged: by the meta files (all groups up to a clean Close, up to the last
// Truncate, up to the first group of the newest segment) or by Options.Next. So
// the one loss that cannot be seen is acknowledged groups at the very end of the
// newest segment being blanked or cut off while the process was not closed
// cleanly and before the storage had them.
//
// raft-wal by itself checks one checksum, that of the last write, when it opens,
// and none when it reads; it takes any damaged frame header for the end of the
// log. The gaps are closed here by a scan before raft-wal sees the files
// (scan.go) and by the checksum of each group on every read.
package wal
