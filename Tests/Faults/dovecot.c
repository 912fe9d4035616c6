// Preloaded into a Dovecot that was unpacked instead of installed: what it looks for in
// /usr/lib/dovecot is found in DOVECOT_LIBRARIES. Only the directory of its modules has no setting.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char installed[] = "/usr/lib/dovecot";

// The path, or where it really is, in `buffer`.
static const char *found(const char *path, char *buffer, size_t size) {
    const char *libraries = getenv("DOVECOT_LIBRARIES");
    size_t count = sizeof installed - 1;
    if (!path || !libraries || strncmp(path, installed, count) != 0) return path;
    int written = snprintf(buffer, size, "%s%s", libraries, path + count);
    return written > 0 && (size_t)written < size ? buffer : path;
}

DIR *opendir(const char *path) {
    static DIR *(*next)(const char *);
    if (!next) next = (DIR * (*)(const char *)) dlsym(RTLD_NEXT, "opendir");
    char buffer[4096];
    return next(found(path, buffer, sizeof buffer));
}

void *dlopen(const char *path, int flags) {
    static void *(*next)(const char *, int);
    if (!next) next = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
    char buffer[4096];
    return next(found(path, buffer, sizeof buffer), flags);
}
