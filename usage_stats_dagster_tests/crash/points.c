/* Every system call by which a process changes files below a folder, shown to a function before and after it is made.
 *
 * Preloaded (LD_PRELOAD), so that it sees what Python, SQLite and Polars write alike. What belongs here: which calls
 * change something, and doing what the function says. What does not: what is to happen at a call (points.py).
 *
 * The function is called with (what, path, phase). Phase 0, before the call, answers: 0 go on; n > 0 fail with errno n;
 * -1 write half of the bytes, then ask again with phase 1 (0: write the rest; n > 0: fail with it). Phase 2: it is made.
 * Calls that the function makes itself are not shown to it.
 */
#define _GNU_SOURCE
#undef _FILE_OFFSET_BITS
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

typedef int (*points_function)(const char *what, const char *path, int phase);

static points_function told;
static char root[PATH_MAX];
static int sockets;
static __thread int inside;

/* what: the folder below which files are looked at; with_sockets: what is sent over TCP too, as path "socket". */
void points_start(points_function function, const char *folder, int with_sockets) {
    strncpy(root, folder, sizeof root - 1);
    sockets = with_sockets;
    __atomic_store_n(&told, function, __ATOMIC_SEQ_CST);
}

void points_stop(void) { __atomic_store_n(&told, NULL, __ATOMIC_SEQ_CST); }

static int tell(const char *what, const char *path, int phase) {
    points_function function = __atomic_load_n(&told, __ATOMIC_SEQ_CST);
    if (!function) return 0;
    int kept = errno;
    inside = 1;
    int answer = function(what, path, phase);
    inside = 0;
    errno = kept;
    return answer;
}

static int below(const char *path) {
    size_t n = strlen(root);
    return !strncmp(path, root, n) && (path[n] == '/' || !path[n]);
}

/* The path of name (relative to folder or the working folder) if it is one that we look at. */
static int named(int folder, const char *name, char *path) {
    if (!__atomic_load_n(&told, __ATOMIC_SEQ_CST) || inside || !name) return 0;
    if (name[0] == '/') {
        strncpy(path, name, PATH_MAX - 1);
        path[PATH_MAX - 1] = 0;
        return below(path);
    }
    char link[64], base[PATH_MAX];
    if (folder == AT_FDCWD) strcpy(link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t n = readlink(link, base, sizeof base - 1);
    if (n < 0) return 0;
    base[n] = 0;
    snprintf(path, PATH_MAX, "%.*s/%.*s", (int)(PATH_MAX / 2), base, (int)(PATH_MAX / 2 - 2), name);
    return below(path);
}

static int opened(int fd, char *path) {
    if (!__atomic_load_n(&told, __ATOMIC_SEQ_CST) || inside) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return below(path);
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define SHOWN(type, what, path, call) \
    do { \
        int answer = tell(what, path, 0); \
        if (answer > 0) { errno = answer; return -1; } \
        type made = call; \
        tell(what, path, 2); \
        return made; \
    } while (0)

#define WRITTEN(what, path, bytes, whole, half, rest) \
    do { \
        int answer = tell(what, path, 0); \
        ssize_t made; \
        if (answer > 0) { errno = answer; return -1; } \
        if (answer < 0 && (bytes) > 1) { \
            ssize_t first = half; \
            if (first < 0) { tell(what, path, 2); return -1; } \
            answer = tell(what, path, 1); \
            if (answer > 0) { tell(what, path, 2); errno = answer; return -1; } \
            ssize_t second = rest; \
            made = second < 0 ? second : first + second; \
        } else made = whole; \
        tell(what, path, 2); \
        return made; \
    } while (0)

ssize_t write(int fd, const void *data, size_t n) {
    REAL(ssize_t, "write", int, const void *, size_t);
    char path[PATH_MAX];
    if (!opened(fd, path)) return real(fd, data, n);
    WRITTEN("write", path, n, real(fd, data, n), real(fd, data, n / 2), real(fd, (const char *)data + first, n - first));
}

#define PWRITE(NAME, OFFSET) \
    ssize_t NAME(int fd, const void *data, size_t n, OFFSET at) { \
        REAL(ssize_t, #NAME, int, const void *, size_t, OFFSET); \
        char path[PATH_MAX]; \
        if (!opened(fd, path)) return real(fd, data, n, at); \
        /* The header of the last frame of a transaction in SQLite's log says how large the file then is. */ \
        size_t length = strlen(path); \
        int commits = n == 24 && length > 4 && !strcmp(path + length - 4, "-wal") && memcmp((const char *)data + 4, "\0\0\0\0", 4); \
        WRITTEN(commits ? "commit" : "write", path, n, real(fd, data, n, at), real(fd, data, n / 2, at), \
                real(fd, (const char *)data + first, n - first, at + first)); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    char path[PATH_MAX];
    if (!opened(fd, path)) return real(fd, parts, count);
    SHOWN(ssize_t, "write", path, real(fd, parts, count));
}

#define TRUNCATE(NAME, OFFSET) \
    int NAME(int fd, OFFSET length) { \
        REAL(int, #NAME, int, OFFSET); \
        char path[PATH_MAX]; \
        if (!opened(fd, path)) return real(fd, length); \
        SHOWN(int, "truncate", path, real(fd, length)); \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

/* Only a kill is tested, not a power cut: what was written stays, and waiting for the disk would test nothing. */
#define SYNC(NAME) \
    int NAME(int fd) { \
        REAL(int, #NAME, int); \
        (void)real; \
        char path[PATH_MAX]; \
        if (!opened(fd, path)) return 0; \
        SHOWN(int, "sync", path, 0); \
    }
SYNC(fsync)
SYNC(fdatasync)

#define OPEN(NAME, REALNAME) \
    int NAME(const char *name, int flags, ...) { \
        REAL(int, REALNAME, const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        char path[PATH_MAX]; \
        if (!(flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR)) || !named(AT_FDCWD, name, path)) return real(name, flags, mode); \
        if (!(flags & O_TRUNC) && !access(name, F_OK)) SHOWN(int, "open", path, real(name, flags, mode)); \
        SHOWN(int, "create", path, real(name, flags, mode)); \
    }
OPEN(open, "open")
OPEN(open64, "open64")

#define OPENAT(NAME, REALNAME) \
    int NAME(int folder, const char *name, int flags, ...) { \
        REAL(int, REALNAME, int, const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        char path[PATH_MAX]; \
        if (!(flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR)) || !named(folder, name, path)) return real(folder, name, flags, mode); \
        if (!(flags & O_TRUNC) && !faccessat(folder, name, F_OK, 0)) SHOWN(int, "open", path, real(folder, name, flags, mode)); \
        SHOWN(int, "create", path, real(folder, name, flags, mode)); \
    }
OPENAT(openat, "openat")
OPENAT(openat64, "openat64")

#define TWO_NAMES(NAME, what) \
    int NAME(const char *old, const char *new) { \
        REAL(int, #NAME, const char *, const char *); \
        char path[PATH_MAX]; \
        if (!named(AT_FDCWD, new, path)) return real(old, new); \
        SHOWN(int, what, path, real(old, new)); \
    }
TWO_NAMES(rename, "rename")
TWO_NAMES(link, "link")

int renameat(int a, const char *old, int b, const char *new) {
    REAL(int, "renameat", int, const char *, int, const char *);
    char path[PATH_MAX];
    if (!named(b, new, path)) return real(a, old, b, new);
    SHOWN(int, "rename", path, real(a, old, b, new));
}

int linkat(int a, const char *old, int b, const char *new, int flags) {
    REAL(int, "linkat", int, const char *, int, const char *, int);
    char path[PATH_MAX];
    if (!named(b, new, path)) return real(a, old, b, new, flags);
    SHOWN(int, "link", path, real(a, old, b, new, flags));
}

#define ONE_NAME(NAME, what) \
    int NAME(const char *name) { \
        REAL(int, #NAME, const char *); \
        char path[PATH_MAX]; \
        if (!named(AT_FDCWD, name, path)) return real(name); \
        SHOWN(int, what, path, real(name)); \
    }
ONE_NAME(unlink, "remove")
ONE_NAME(rmdir, "remove")

int unlinkat(int folder, const char *name, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    char path[PATH_MAX];
    if (!named(folder, name, path)) return real(folder, name, flags);
    SHOWN(int, "remove", path, real(folder, name, flags));
}

int mkdir(const char *name, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    char path[PATH_MAX];
    if (!named(AT_FDCWD, name, path) || !access(name, F_OK)) return real(name, mode);
    SHOWN(int, "mkdir", path, real(name, mode));
}

int mkdirat(int folder, const char *name, mode_t mode) {
    REAL(int, "mkdirat", int, const char *, mode_t);
    char path[PATH_MAX];
    if (!named(folder, name, path)) return real(folder, name, mode);
    SHOWN(int, "mkdir", path, real(folder, name, mode));
}

static int is_tcp(int fd) {
    if (!sockets || inside || !__atomic_load_n(&told, __ATOMIC_SEQ_CST)) return 0;
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    return !getpeername(fd, (struct sockaddr *)&peer, &size) && (peer.ss_family == AF_INET || peer.ss_family == AF_INET6);
}

ssize_t send(int fd, const void *data, size_t n, int flags) {
    REAL(ssize_t, "send", int, const void *, size_t, int);
    if (!is_tcp(fd)) return real(fd, data, n, flags);
    WRITTEN("send", "socket", n, real(fd, data, n, flags), real(fd, data, n / 2, flags),
            real(fd, (const char *)data + first, n - first, flags));
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    REAL(ssize_t, "sendmsg", int, const struct msghdr *, int);
    if (!is_tcp(fd)) return real(fd, message, flags);
    SHOWN(ssize_t, "send", "socket", real(fd, message, flags));
}
