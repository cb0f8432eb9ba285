// Preloaded into a program, it lets one of its system calls fail, or records them: see stress_faults.py.
//
// FAULT_UNDER    the folder whose files count; without it nothing happens
// FAULT_COUNTER  a file of KINDS + 1 numbers of 64 bits, shared by all processes: calls of each kind, and what has failed
// FAULT_KIND, FAULT_AT, FAULT_ERRNO   the how manyth call (from 0) of which kind fails, and how
// FAULT_LOG      a file that gets what each call did: a line of JSON, and behind it the data of a write
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN, WRITE, FSYNC, RENAME, UNLINK, MKDIR, KINDS };
static uint64_t *counter;
static pthread_mutex_t in_turn = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static int is_under(const char *path) {
    const char *under = getenv("FAULT_UNDER");
    size_t length = under ? strlen(under) : 0;
    return length && !strncmp(path, under, length) && (path[length] == '/' || !path[length]);
}

static const char *absolute(int folder, const char *path, char *full) {
    char place[PATH_MAX] = "", link[40];
    if (path[0] == '/') return path;
    if (folder == AT_FDCWD) {
        if (!getcwd(place, sizeof place)) return path;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, place, sizeof place - 1);
        place[length > 0 ? length : 0] = 0;
    }
    if (snprintf(full, PATH_MAX, "%s%s%s", place, path[0] ? "/" : "", path) >= PATH_MAX) return path;
    return full;
}

// Whether this call is the one that is to fail; it is counted.
static int fails(int kind, const char *path) {
    if (!is_under(path) || getenv("FAULT_LOG")) return 0;
    if (!counter) {
        const char *name = getenv("FAULT_COUNTER");
        int file = name ? (int)syscall(SYS_openat, AT_FDCWD, name, O_RDWR) : -1;
        if (file < 0) return 0;
        void *place = mmap(0, (KINDS + 1) * sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        syscall(SYS_close, file);
        if (place == MAP_FAILED) return 0;
        counter = place;
    }
    uint64_t number = __atomic_fetch_add(&counter[kind], 1, __ATOMIC_SEQ_CST);
    const char *wanted = getenv("FAULT_KIND");
    if (!wanted || atoi(wanted) != kind || number != strtoull(getenv("FAULT_AT"), 0, 10)) return 0;
    __atomic_fetch_add(&counter[KINDS], 1, __ATOMIC_SEQ_CST);
    errno = atoi(getenv("FAULT_ERRNO"));
    return 1;
}

// Append a line to the log: what was done to which file (by its number, which renaming leaves), and the data of a write.
static void record(const char *what, const char *path, const char *other, uint64_t file, int64_t at, const void *data, size_t size) {
    const char *log = getenv("FAULT_LOG");
    if (!log || !is_under(path)) return;
    char line[2 * PATH_MAX + 200];
    int length = snprintf(line, sizeof line, "{\"what\":\"%s\",\"path\":\"%s\",\"other\":\"%s\",\"file\":%llu,\"at\":%lld,\"size\":%zu}\n",
                          what, path, other, (unsigned long long)file, (long long)at, size);
    struct iovec parts[2] = {{line, length}, {(void *)data, size}};
    int output = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    syscall(SYS_writev, output, parts, size ? 2 : 1);
    syscall(SYS_close, output);
}

static uint64_t number_of(int file) {
    struct stat status;
    return syscall(SYS_fstat, file, &status) ? 0 : status.st_ino;
}

static int opened(int folder, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    const char *place = absolute(folder, path, full);
    if (fails(OPEN, place)) return -1;
    pthread_mutex_lock(&in_turn);
    int is_new = getenv("FAULT_LOG") && (flags & O_CREAT) && syscall(SYS_faccessat, AT_FDCWD, place, F_OK);
    int file = (int)syscall(SYS_openat, folder, path, flags, mode), kept = errno;
    if (file >= 0 && (flags & O_TMPFILE) != O_TMPFILE && (is_new || flags & O_TRUNC))
        record(is_new ? "create" : "empty", place, "", number_of(file), 0, 0, 0);
    pthread_mutex_unlock(&in_turn);
    errno = kept;
    return file;
}

#define MODE(flags) mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
int open(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags) return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags) return opened(folder, path, flags, mode); }

static const char *name_of(int file, char *full) { return absolute(file, "", full); }

static ssize_t written(int file, const void *data, size_t size, int64_t at) {
    char full[PATH_MAX];
    const char *path = getenv("FAULT_UNDER") ? name_of(file, full) : "";
    if (fails(WRITE, path)) return -1;
    pthread_mutex_lock(&in_turn);
    struct stat status;
    int64_t place = at;
    if (getenv("FAULT_LOG") && at < 0) {
        int appends = fcntl(file, F_GETFL) & O_APPEND;
        place = appends && !syscall(SYS_fstat, file, &status) ? status.st_size : syscall(SYS_lseek, file, 0, SEEK_CUR);
    }
    ssize_t done = at < 0 ? syscall(SYS_write, file, data, size) : syscall(SYS_pwrite64, file, data, size, at);
    int kept = errno;
    if (done > 0) record("write", path, "", number_of(file), place, data, done);
    pthread_mutex_unlock(&in_turn);
    errno = kept;
    return done;
}
ssize_t write(int file, const void *data, size_t size) { return written(file, data, size, -1); }
ssize_t pwrite(int file, const void *data, size_t size, off_t at) { return written(file, data, size, at); }
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) { return written(file, data, size, at); }
ssize_t writev(int file, const struct iovec *parts, int count) {
    ssize_t sum = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = written(file, parts[i].iov_base, parts[i].iov_len, -1);
        if (done < 0) return sum ? sum : done;
        sum += done;
    }
    return sum;
}

// A call that only has a result: it fails, or it is made and recorded where it went well.
#define CALL(kind, what, path, other, file, at, call) \
    if (fails(kind, path)) return -1; \
    pthread_mutex_lock(&in_turn); \
    uint64_t number = file; \
    int done = call, kept = errno; \
    if (!done) record(what, path, other, number, at, 0, 0); \
    pthread_mutex_unlock(&in_turn); \
    errno = kept; \
    return done;
#define PLACE(folder, path) char full[PATH_MAX]; const char *place = absolute(folder, path, full);

static int synced(int file, long call) {
    char full[PATH_MAX];
    const char *path = getenv("FAULT_UNDER") ? name_of(file, full) : "";
    CALL(FSYNC, "fsync", path, "", number_of(file), 0, (int)syscall(call, file))
}
int fsync(int file) { return synced(file, SYS_fsync); }
int fdatasync(int file) { return synced(file, SYS_fdatasync); }
int renameat(int from, const char *path, int to, const char *other) {
    char target[PATH_MAX];
    PLACE(from, path)
    const char *there = absolute(to, other, target);
    CALL(RENAME, "rename", place, there, 0, 0, (int)syscall(SYS_renameat2, from, path, to, other, 0))
}
int rename(const char *path, const char *other) { return renameat(AT_FDCWD, path, AT_FDCWD, other); }
int unlinkat(int folder, const char *path, int flags) {
    PLACE(folder, path)
    CALL(UNLINK, "unlink", place, "", 0, 0, (int)syscall(SYS_unlinkat, folder, path, flags))
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) { return unlink(path) && errno == EISDIR ? rmdir(path) : 0; }
int mkdirat(int folder, const char *path, mode_t mode) {
    PLACE(folder, path)
    CALL(MKDIR, "mkdir", place, "", 0, 0, (int)syscall(SYS_mkdirat, folder, path, mode))
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
int ftruncate(int file, off_t size) {
    char full[PATH_MAX];
    const char *path = getenv("FAULT_LOG") ? name_of(file, full) : "";
    int done = (int)syscall(SYS_ftruncate, file, size), kept = errno;
    if (!done) record("cut", path, "", number_of(file), size, 0, 0);
    errno = kept;
    return done;
}
int ftruncate64(int file, off64_t size) { return ftruncate(file, size); }
