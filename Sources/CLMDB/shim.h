// LMDB, the spool's storage engine.
#ifndef ELEMTA_CLMDB_SHIM_H
#define ELEMTA_CLMDB_SHIM_H

#include <lmdb.h>
// statfs(2), which tells a network file system under the spool: Swift's Glibc module leaves it out.
#include <sys/vfs.h>

#endif
