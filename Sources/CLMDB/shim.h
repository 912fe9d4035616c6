// LMDB, the spool's storage engine.
#ifndef ELEMTA_CLMDB_SHIM_H
#define ELEMTA_CLMDB_SHIM_H

#include <lmdb.h>

#endif
