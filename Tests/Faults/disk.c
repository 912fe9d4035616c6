// What a disk can do to a process, for tests: preloaded into the server (LD_PRELOAD).
//
// Calls that change files below one directory fail on demand, and are written down one after the other,
// so that a test can build what a power loss at any moment would have left of them.
//
//   DISK_ROOT     the directory, absolute and without symbolic links; it may be made later
//   DISK_CONTROL  a file of `struct control`, mapped by the test too: which calls fail
//   DISK_JOURNAL  a file that every change is appended to, and every 250 for a message
//
// With a journal all calls below the directory happen one at a time: what a sync covers is exact.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

// Classes of calls, as harness/disk.py names them.
enum { WRITE, SYNC, ALLOCATE, RENAME, UNLINK, CREATE, CLASSES };

struct control {
    _Atomic uint64_t calls[8];  // seen of each class
    _Atomic uint64_t classes;   // a bit for each class that is to fail; 0: none
    _Atomic uint64_t seen;      // calls of those classes since the test set it to 0
    _Atomic uint64_t first;     // the first that fails, from 1
    _Atomic uint64_t count;     // how many in a row
    _Atomic uint64_t error;     // errno
    _Atomic uint64_t failed;    // how many have
    _Atomic uint64_t repeated;  // syncs of a descriptor whose sync had failed
};

enum record {
    OPEN = 1, WRITTEN, SYNCED, NOT_SYNCED, RESIZED, MADE, REMOVED, UNLINKED, RENAMED, LINKED, ANSWERED
};

struct header {
    uint32_t kind, length;  // length: of what follows
    uint64_t handle;
    int64_t number;  // an offset, a size or the flags of open
};

// Descriptors below the directory.
struct entry {
    _Atomic uint64_t handle;  // 0: none of ours
    char synchronous;         // O_DSYNC or O_SYNC
    char broken;              // a sync of it has failed
};

static struct entry table[1 << 16];
static struct control *control;
static int journal = -1;
static char root[PATH_MAX];
static size_t rootLength;
static _Atomic uint64_t lastHandle;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

#define REAL(result, name, ...)                                                \
    static result (*real)(__VA_ARGS__);                                        \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static int realOpen(const char *path, int flags, mode_t mode) {
    REAL(int, open, const char *, int, ...);
    return real(path, flags, mode);
}

static ssize_t realWritev(int descriptor, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    return real(descriptor, parts, count);
}

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("DISK_ROOT");
    if (!name || strlen(name) >= sizeof root) return;
    strcpy(root, name);
    rootLength = strlen(root);
    lastHandle = (uint64_t)getpid() << 32;
    if ((name = getenv("DISK_CONTROL"))) {
        int file = realOpen(name, O_RDWR | O_CLOEXEC, 0);
        void *page = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (page == MAP_FAILED) abort();
        control = page;
        close(file);
    }
    if ((name = getenv("DISK_JOURNAL"))) {
        journal = realOpen(name, O_WRONLY | O_APPEND | O_CLOEXEC, 0);
        if (journal < 0) abort();
    }
}

// What lies below the directory

static const char *within(const char *path) {
    if (!rootLength || strncmp(path, root, rootLength)) return NULL;
    if (path[rootLength] == '/') return path + rootLength + 1;
    return path[rootLength] ? NULL : path + rootLength;
}

// The name of `path` as seen from the directory, in `buffer`; NULL when it lies elsewhere. The last
// part needn't be there.
static const char *ours(const char *path, char buffer[PATH_MAX]) {
    char parent[PATH_MAX];
    if (!rootLength || strlen(path) >= sizeof parent) return NULL;
    const char *slash = strrchr(path, '/'), *last = slash ? slash + 1 : path;
    if (!*last || !strcmp(last, ".") || !strcmp(last, "..")) {
        return realpath(path, buffer) ? within(buffer) : NULL;
    }
    strcpy(parent, slash == path ? "/" : ".");
    if (slash > path) *(char *)mempcpy(parent, path, (size_t)(slash - path)) = 0;
    if (!realpath(parent, buffer)) return NULL;
    size_t length = strlen(buffer);
    if (length + strlen(last) + 2 > PATH_MAX) return NULL;
    if (length > 1) buffer[length++] = '/';
    strcpy(buffer + length, last);
    return within(buffer);
}

static struct entry *entryOf(int descriptor) {
    if (descriptor < 0 || descriptor >= 1 << 16 || !table[descriptor].handle) return NULL;
    return &table[descriptor];
}

// Failing

// The errno that a call of this class fails with, or 0.
static int fault(int class) {
    if (!control) return 0;
    control->calls[class]++;
    if (!(control->classes & (1u << class))) return 0;
    uint64_t number = ++control->seen;
    if (number < control->first || number - control->first >= control->count) return 0;
    control->failed++;
    return (int)control->error;
}

static int fails(int class) {
    int code = fault(class);
    if (code) errno = code;
    return code != 0;
}

// The journal

static void enter(void) {
    if (journal >= 0) pthread_mutex_lock(&turn);
}

static void leave(void) {
    int code = errno;
    if (journal >= 0) pthread_mutex_unlock(&turn);
    errno = code;
}

// The whole record in one call: the child that looks at the spool writes to the same file.
static void note(enum record kind, uint64_t handle, int64_t number, const struct iovec *parts, int count) {
    if (journal < 0) return;
    int code = errno;
    struct iovec all[count + 1];
    size_t length = 0;
    for (int part = 0; part < count; part++) {
        all[part + 1] = parts[part];
        length += parts[part].iov_len;
    }
    struct header header = {kind, (uint32_t)length, handle, number};
    all[0] = (struct iovec){&header, sizeof header};
    if (realWritev(journal, all, count + 1) != (ssize_t)(length + sizeof header)) abort();
    errno = code;
}

static void noteNames(enum record kind, const char *first, const char *second) {
    struct iovec parts[2] = {{(void *)first, strlen(first)}, {(void *)second, second ? strlen(second) : 0}};
    note(kind, 0, (int64_t)strlen(first), parts, second ? 2 : 1);
}

// Of parts that were written only in part, what was written.
static void noteWritten(struct entry *entry, off_t offset, const struct iovec *parts, int count, ssize_t done) {
    struct iovec written[count];
    int used = 0;
    for (; used < count && done > 0; used++) {
        written[used] = parts[used];
        if ((ssize_t)written[used].iov_len > done) written[used].iov_len = (size_t)done;
        done -= (ssize_t)written[used].iov_len;
    }
    note(WRITTEN, entry->handle, offset, written, used);
}

// Opening and closing

static int opened(const char *path, int flags, mode_t mode) {
    char buffer[PATH_MAX];
    const char *name = ours(path, buffer);
    if (!name) return realOpen(path, flags, mode);
    enter();
    int descriptor = -1;
    if (!(flags & O_CREAT) || !fails(CREATE)) descriptor = realOpen(path, flags, mode);
    if (descriptor >= 1 << 16) abort();
    if (descriptor >= 0) {
        struct entry *entry = &table[descriptor];
        entry->synchronous = (flags & O_DSYNC) != 0;
        entry->broken = 0;
        entry->handle = ++lastHandle;
        struct iovec part = {(void *)name, strlen(name)};
        note(OPEN, entry->handle, flags, &part, 1);
    }
    leave();
    return descriptor;
}

#define MODE(flags)                                                            \
    mode_t mode = 0;                                                           \
    if (flags & O_CREAT) {                                                     \
        va_list list;                                                          \
        va_start(list, flags);                                                 \
        mode = va_arg(list, mode_t);                                           \
        va_end(list);                                                          \
    }

int open(const char *path, int flags, ...) { MODE(flags) return opened(path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(path, flags, mode); }

int close(int descriptor) {
    REAL(int, close, int);
    struct entry *entry = entryOf(descriptor);
    if (entry) entry->handle = 0;
    return real(descriptor);
}

// Writing

// Below the directory a write of `parts`, at `offset` or, when that is negative, where the file stands.
static ssize_t written(struct entry *entry, int descriptor, const struct iovec *parts, int count, off_t offset) {
    REAL(ssize_t, pwritev, int, const struct iovec *, int, off_t);
    enter();
    ssize_t done = -1;
    if (!fails(WRITE)) {
        off_t start = offset >= 0 ? offset : lseek(descriptor, 0, SEEK_CUR);
        done = offset >= 0 ? real(descriptor, parts, count, offset) : realWritev(descriptor, parts, count);
        if (done > 0) noteWritten(entry, start, parts, count, done);
    }
    leave();
    return done;
}

// To a socket: a 250 for a message is written down before it is sent.
static void watch(const struct iovec *parts, int count) {
    static const char words[] = "Message accepted for delivery ";
    if (journal < 0) return;
    for (int part = 0; part < count; part++) {
        const char *text = parts[part].iov_base, *end = text + parts[part].iov_len;
        while ((text = memmem(text, (size_t)(end - text), words, sizeof words - 1))) {
            text += sizeof words - 1;
            const char *line = memchr(text, '\r', (size_t)(end - text));
            struct iovec name = {(void *)text, (size_t)((line ? line : end) - text)};
            pthread_mutex_lock(&turn);
            note(ANSWERED, 0, 0, &name, 1);
            pthread_mutex_unlock(&turn);
        }
    }
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    struct entry *entry = entryOf(descriptor);
    if (entry) return written(entry, descriptor, parts, count, -1);
    watch(parts, count);
    return realWritev(descriptor, parts, count);
}

ssize_t write(int descriptor, const void *octets, size_t count) {
    struct iovec part = {(void *)octets, count};
    return writev(descriptor, &part, 1);
}

ssize_t send(int descriptor, const void *octets, size_t count, int flags) {
    REAL(ssize_t, send, int, const void *, size_t, int);
    struct iovec part = {(void *)octets, count};
    watch(&part, 1);
    return real(descriptor, octets, count, flags);
}

ssize_t sendmsg(int descriptor, const struct msghdr *message, int flags) {
    REAL(ssize_t, sendmsg, int, const struct msghdr *, int);
    watch(message->msg_iov, (int)message->msg_iovlen);
    return real(descriptor, message, flags);
}

ssize_t pwritev(int descriptor, const struct iovec *parts, int count, off_t offset) {
    REAL(ssize_t, pwritev, int, const struct iovec *, int, off_t);
    struct entry *entry = entryOf(descriptor);
    return entry ? written(entry, descriptor, parts, count, offset) : real(descriptor, parts, count, offset);
}

ssize_t pwrite(int descriptor, const void *octets, size_t count, off_t offset) {
    struct iovec part = {(void *)octets, count};
    return pwritev(descriptor, &part, 1, offset);
}

ssize_t pwritev64(int d, const struct iovec *parts, int count, off64_t offset) { return pwritev(d, parts, count, offset); }
ssize_t pwrite64(int d, const void *octets, size_t count, off64_t offset) { return pwrite(d, octets, count, offset); }

// Syncing

static int synced(int descriptor, int (*real)(int)) {
    struct entry *entry = entryOf(descriptor);
    if (!entry) return real(descriptor);
    enter();
    if (entry->broken && control) control->repeated++;
    int result = fails(SYNC) ? -1 : real(descriptor);
    if (result) entry->broken = 1;
    note(result ? NOT_SYNCED : SYNCED, entry->handle, 0, NULL, 0);
    leave();
    return result;
}

int fsync(int descriptor) {
    REAL(int, fsync, int);
    return synced(descriptor, real);
}

int fdatasync(int descriptor) {
    REAL(int, fdatasync, int);
    return synced(descriptor, real);
}

// Sizes

int ftruncate(int descriptor, off_t size) {
    REAL(int, ftruncate, int, off_t);
    struct entry *entry = entryOf(descriptor);
    if (!entry) return real(descriptor, size);
    enter();
    int result = fails(ALLOCATE) ? -1 : real(descriptor, size);
    if (!result) note(RESIZED, entry->handle, size, NULL, 0);
    leave();
    return result;
}

int posix_fallocate(int descriptor, off_t offset, off_t length) {
    REAL(int, posix_fallocate, int, off_t, off_t);
    struct entry *entry = entryOf(descriptor);
    if (!entry) return real(descriptor, offset, length);
    enter();
    struct stat status;
    int result = fault(ALLOCATE);
    if (!result) result = real(descriptor, offset, length);
    if (!result && !fstat(descriptor, &status)) note(RESIZED, entry->handle, status.st_size, NULL, 0);
    leave();
    return result;
}

int ftruncate64(int descriptor, off64_t size) { return ftruncate(descriptor, size); }
int posix_fallocate64(int d, off64_t offset, off64_t length) { return posix_fallocate(d, offset, length); }

// Names

static int named(int class, enum record kind, const char *path, int (*real)(const char *)) {
    char buffer[PATH_MAX];
    const char *name = ours(path, buffer);
    if (!name) return real(path);
    enter();
    int result = fails(class) ? -1 : real(path);
    if (!result) noteNames(kind, name, NULL);
    leave();
    return result;
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    return named(UNLINK, UNLINKED, path, real);
}

int rmdir(const char *path) {
    REAL(int, rmdir, const char *);
    return named(UNLINK, REMOVED, path, real);
}

static int realMkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    return real(path, mode);
}

static int makePrivate(const char *path) { return realMkdir(path, 0700); }

int mkdir(const char *path, mode_t mode) {
    // All of ours are 0700.
    return mode == 0700 ? named(CREATE, MADE, path, makePrivate) : realMkdir(path, mode);
}

static int twoNames(int class, enum record kind, const char *from, const char *to,
                    int (*real)(const char *, const char *)) {
    char first[PATH_MAX], second[PATH_MAX];
    const char *source = ours(from, first), *target = ours(to, second);
    if (!source || !target) return real(from, to);
    enter();
    int result = fails(class) ? -1 : real(from, to);
    if (!result) noteNames(kind, source, target);
    leave();
    return result;
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    return twoNames(RENAME, RENAMED, from, to, real);
}

int link(const char *from, const char *to) {
    REAL(int, link, const char *, const char *);
    return twoNames(CREATE, LINKED, from, to, real);
}
