/* A disk with faults, under one program. It is preloaded, and replaces functions of the C library for the files below one
 * folder. It records the data that a power cut would lose, and lets calls fail on demand.
 *
 *   DISK_FAULTS_BELOW     the folder whose files are watched (absolute)
 *   DISK_FAULTS_DIR       the folder of `control` and of the undo journals
 *   DISK_FAULTS_UNSYNCED  files that match are never synced, although their syncs succeed
 *
 * `control` is read again at each call; its lines are
 *
 *   room BYTES              files may grow by this much from the start of the program, together
 *   full PATTERN            files that match do not grow at all: ENOSPC
 *   no-descriptor PATTERN   files and folders that match cannot be opened: EMFILE
 *   fail-sync PATTERN       fsync and fdatasync of files that match: EIO
 *   fail-write PATTERN      write to files that match: EIO
 *   block-sync PATTERN      fsync and fdatasync of files that match wait as long as the line is there
 *
 * The undo journal of a file, `undo-INODE`, has a record for each change since its last sync: four 64-bit numbers (offset,
 * length of the change, length of the file before it, length of the old bytes) and the old bytes. It is written before the
 * change, and removed when the file is synced. After a failed sync it is never removed, because the kernel drops the data that
 * it could not write.
 *
 * The undo journal of a folder, `names-INODE`, has a line for each change of its names since its last sync: `+NAME` for a new
 * one, `=OLD NAME` for a renamed one, and `-NAME KEPT` for a removed one, whose file is kept as KEPT. New folders count as
 * durable at once. Writes through a mapping (`SQLite`'s shared memory) are not watched, as nothing depends on them after a
 * power cut. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 65536 /* descriptors that are watched */
#define STUCK 64

/* Defines `real` as the C library's function of this name. */
#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char watched[FILES];
static int64_t grown;
static ino_t stuck[STUCK];
static int stuck_count;

static int real_open(const char *path, int flags) {
    REAL(open64);
    return real(path, flags, 0600);
}

static ssize_t real_pwrite(int fd, const void *bytes, size_t count, off64_t offset) {
    REAL(pwrite64);
    return real(fd, bytes, count, offset);
}

static int real_close(int fd) {
    REAL(close);
    return real(fd);
}

static int real_unlink(const char *path) {
    REAL(unlink);
    return real(path);
}

static int is_watched(int fd) {
    return fd >= 0 && fd < FILES && watched[fd];
}

static int is_below(const char *path) {
    const char *below = getenv("DISK_FAULTS_BELOW");
    size_t length = below ? strlen(below) : 0;
    return length && !strncmp(path, below, length) && (path[length] == '/' || !path[length]);
}

/* The current name of the file, which may have been renamed since it was opened. */
static void name_of(int fd, char name[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, PATH_MAX - 1);
    name[length < 0 ? 0 : length] = 0;
}

static void fault_file(char path[PATH_MAX], const char *name) {
    snprintf(path, PATH_MAX, "%s/%s", getenv("DISK_FAULTS_DIR"), name);
}

static void undo_file(char path[PATH_MAX], ino_t inode) {
    char name[64];
    snprintf(name, sizeof name, "undo-%llu", (unsigned long long)inode);
    fault_file(path, name);
}

/* Whether a line of `control` has this first word and, if `path` is given, a pattern that `path` matches. */
static int is_told(const char *word, const char *path, char *rest, size_t size) {
    char file[PATH_MAX], text[4096];
    fault_file(file, "control");
    int fd = real_open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t length = read(fd, text, sizeof text - 1);
    real_close(fd);
    text[length < 0 ? 0 : length] = 0;
    char *save, *line = strtok_r(text, "\n", &save);
    for (; line; line = strtok_r(NULL, "\n", &save)) {
        size_t at = strlen(word);
        if (strncmp(line, word, at) || line[at] != ' ') continue;
        if (rest) snprintf(rest, size, "%s", line + at + 1);
        if (!path || !fnmatch(line + at + 1, path, 0)) return 1;
    }
    return 0;
}

static int is_told_of(const char *word, int fd) {
    char name[PATH_MAX];
    name_of(fd, name);
    return is_told(word, name, NULL, 0);
}

/* How many bytes files may still grow. If `fd` is given, faults of that file count too. */
static int64_t room_left(int fd) {
    char number[64];
    if (fd >= 0 && is_told_of("full", fd)) return 0;
    if (!is_told("room", NULL, number, sizeof number)) return INT64_MAX;
    int64_t left = strtoll(number, NULL, 10) - grown;
    return left > 0 ? left : 0;
}

static int64_t size_of(int fd, ino_t *inode) {
    struct stat status;
    if (fstat(fd, &status)) return 0;
    if (inode) *inode = status.st_ino;
    return status.st_size;
}

static void write_all(int fd, const void *bytes, size_t count) {
    REAL(write);
    const char *at = bytes;
    while (count) {
        ssize_t written = real(fd, at, count);
        if (written <= 0) abort();
        at += written;
        count -= (size_t)written;
    }
}

/* Records the old bytes before a change of `length` bytes at `offset` overwrites them, or cuts them off at the end of the file. */
static void remember(int fd, int64_t offset, int64_t length, int64_t old_until) {
    char path[PATH_MAX];
    ino_t inode = 0;
    int64_t size = size_of(fd, &inode);
    int64_t until = old_until < size ? old_until : size;
    uint64_t old = until > offset ? (uint64_t)(until - offset) : 0;
    size_t head = 4 * sizeof(uint64_t);
    char *record = malloc(head + old);
    uint64_t numbers[4] = {(uint64_t)offset, (uint64_t)length, (uint64_t)size, old};
    memcpy(record, numbers, head);
    if (old) {
        /* The file may be open for writing only, so it is opened again for reading. */
        char self[64];
        snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
        int reader = real_open(self, O_RDONLY | O_CLOEXEC);
        if (reader < 0 || pread64(reader, record + head, old, offset) != (ssize_t)old) abort();
        real_close(reader);
    }
    undo_file(path, inode);
    int undo = real_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC);
    if (undo < 0) abort();
    write_all(undo, record, head + old);
    real_close(undo);
    free(record);
}

static void forget(ino_t inode, const char *what) {
    char name[64], path[PATH_MAX];
    snprintf(name, sizeof name, "%s-%llu", what, (unsigned long long)inode);
    fault_file(path, name);
    real_unlink(path);
}

/* Finds the undo journal of the folder of `path`, and returns the name in that folder. */
static const char *names_file(char file[PATH_MAX], const char *path) {
    const char *name = strrchr(path, '/') + 1;
    char dir[PATH_MAX], journal[64];
    struct stat status;
    snprintf(dir, sizeof dir, "%.*s", (int)(name - path), path);
    if (stat(dir, &status)) abort();
    snprintf(journal, sizeof journal, "names-%llu", (unsigned long long)status.st_ino);
    fault_file(file, journal);
    return name;
}

static void note(const char *file, const char *line) {
    int fd = real_open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC);
    if (fd < 0) abort();
    write_all(fd, line, strlen(line));
    real_close(fd);
}

static void made(const char *path) {
    char file[PATH_MAX], line[PATH_MAX];
    snprintf(line, sizeof line, "+%s\n", names_file(file, path));
    note(file, line);
}

/* Keeps a file whose name is about to be removed. */
static void taken_away(const char *path) {
    static int count;
    char file[PATH_MAX], line[PATH_MAX], kept[64], keep[PATH_MAX];
    const char *name = names_file(file, path);
    snprintf(kept, sizeof kept, "kept-%d-%d", getpid(), count++);
    fault_file(keep, kept);
    if (link(path, keep)) return; /* there is no such file */
    snprintf(line, sizeof line, "-%s %s\n", name, kept);
    note(file, line);
}

/* How many of `count` bytes at `offset` can be written; -1 with errno if there is no room or the write must fail. */
static int64_t admit(int fd, int64_t offset, int64_t count) {
    if (is_told_of("fail-write", fd)) {
        errno = EIO;
        return -1;
    }
    int64_t size = size_of(fd, NULL);
    int64_t growth = offset + count > size ? offset + count - size : 0;
    int64_t left = room_left(fd);
    if (growth > left) {
        count -= growth - left;
        growth = left;
    }
    if (count <= 0) {
        errno = ENOSPC;
        return -1;
    }
    grown += growth;
    return count;
}

static ssize_t write_at(int fd, const void *bytes, size_t count, int64_t offset) {
    pthread_mutex_lock(&lock);
    ssize_t done = count ? admit(fd, offset, (int64_t)count) : 0;
    if (done > 0) {
        remember(fd, offset, done, offset + done);
        done = real_pwrite(fd, bytes, (size_t)done, offset);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    return is_watched(fd) ? write_at(fd, bytes, count, offset) : real_pwrite(fd, bytes, count, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    return pwrite64(fd, bytes, count, offset);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write);
    if (!is_watched(fd)) return real(fd, bytes, count);
    ssize_t done = write_at(fd, bytes, count, lseek64(fd, 0, SEEK_CUR));
    if (done > 0) lseek64(fd, done, SEEK_CUR);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (!is_watched(fd)) return real(fd, parts, count);
    for (int part = 0; part < count; part++)
        if (parts[part].iov_len) return write(fd, parts[part].iov_base, parts[part].iov_len);
    return 0;
}

int ftruncate64(int fd, off64_t length) {
    REAL(ftruncate64);
    if (!is_watched(fd)) return real(fd, length);
    pthread_mutex_lock(&lock);
    int64_t size = size_of(fd, NULL);
    remember(fd, length < size ? length : size, 0, size);
    int done = real(fd, length);
    if (!done && length < size) grown -= size - length;
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int fd, off_t length) {
    return ftruncate64(fd, length);
}

/* Counts an allocation like a write of zeros behind the end of the file, but it succeeds as a whole or not at all. */
static int allocate(int fd, int64_t until) {
    int64_t size = size_of(fd, NULL);
    int64_t growth = until > size ? until - size : 0;
    if (growth > room_left(fd)) return ENOSPC;
    grown += growth;
    remember(fd, size, 0, size);
    return 0;
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    REAL(fallocate64);
    if (!is_watched(fd)) return real(fd, mode, offset, length);
    pthread_mutex_lock(&lock);
    errno = allocate(fd, offset + length);
    int done = errno ? -1 : real(fd, mode, offset, length);
    pthread_mutex_unlock(&lock);
    return done;
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
    return fallocate64(fd, mode, offset, length);
}

int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    return fallocate64(fd, 0, offset, length) ? errno : 0;
}

int posix_fallocate(int fd, off_t offset, off_t length) {
    return posix_fallocate64(fd, offset, length);
}

/* Nothing is synced to the real disk, because the page cache outlives the program: data without an undo journal counts as durable. */
static int synced(int fd) {
    /* A sync takes time, in which a test may cut the power. */
    do usleep(1000);
    while (is_told_of("block-sync", fd));
    pthread_mutex_lock(&lock);
    char name[PATH_MAX];
    const char *unsynced = getenv("DISK_FAULTS_UNSYNCED");
    ino_t inode = 0;
    size_of(fd, &inode);
    name_of(fd, name);
    int is_stuck = 0, done = 0;
    for (int at = 0; at < stuck_count; at++) is_stuck |= stuck[at] == inode;
    if (is_told("fail-sync", name, NULL, 0)) {
        if (!is_stuck && stuck_count < STUCK) stuck[stuck_count++] = inode;
        errno = EIO;
        done = -1;
    } else if (!is_stuck && !(unsynced && !fnmatch(unsynced, name, 0))) {
        forget(inode, "undo");
        forget(inode, "names");
    }
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int fd) {
    REAL(fsync);
    return is_watched(fd) ? synced(fd) : real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return is_watched(fd) ? synced(fd) : real(fd);
}

static int is_shared_memory(const char *path) {
    size_t length = strlen(path);
    return length > 4 && !strcmp(path + length - 4, "-shm");
}

/* Watches a file that the C library has opened, if it is below the folder. */
static int opened(int fd, const char *path) {
    if (fd >= 0 && fd < FILES) watched[fd] = is_below(path) && !is_shared_memory(path);
    return fd;
}

static int open_watched(const char *path, int flags, mode_t mode) {
    REAL(open64);
    if (!is_below(path)) return opened(real(path, flags, mode), path);
    if (is_told("no-descriptor", path, NULL, 0)) {
        errno = EMFILE;
        return -1;
    }
    struct stat status;
    int is_new = stat(path, &status) != 0;
    int fd = opened(real(path, flags & ~O_TRUNC, mode), path);
    if (fd < 0) return fd;
    if (is_new && flags & O_CREAT) {
        /* A new file may have the inode number of a removed one. */
        pthread_mutex_lock(&lock);
        if (!fstat(fd, &status)) forget(status.st_ino, "undo");
        if (is_watched(fd)) made(path);
        pthread_mutex_unlock(&lock);
    } else if (flags & O_TRUNC && ftruncate64(fd, 0)) {
        real_close(fd);
        return -1;
    }
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list more; \
        va_start(more, flags); \
        mode = va_arg(more, mode_t); \
        va_end(more); \
    }

int open(const char *path, int flags, ...) {
    MODE(flags)
    return open_watched(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags)
    return open_watched(path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...) {
    REAL(openat64);
    MODE(flags)
    if (dir == AT_FDCWD) return open_watched(path, flags, mode);
    int fd = real(dir, path, flags, mode);
    if (fd >= 0 && fd < FILES) watched[fd] = 0;
    return fd;
}

int openat(int dir, const char *path, int flags, ...) {
    MODE(flags)
    return openat64(dir, path, flags, mode);
}

int close(int fd) {
    if (fd >= 0 && fd < FILES) watched[fd] = 0;
    return real_close(fd);
}

int unlink(const char *path) {
    if (!is_below(path)) return real_unlink(path);
    struct stat status;
    int64_t size = !stat(path, &status) ? status.st_size : 0;
    pthread_mutex_lock(&lock);
    if (!is_shared_memory(path)) taken_away(path);
    int done = real_unlink(path);
    if (!done) grown -= size;
    pthread_mutex_unlock(&lock);
    return done;
}

/* Only renames within one folder are supported; the server does no others. */
int rename(const char *old, const char *new) {
    REAL(rename);
    if (!is_below(new)) return real(old, new);
    char file[PATH_MAX], line[2 * PATH_MAX];
    pthread_mutex_lock(&lock);
    taken_away(new);
    const char *to = names_file(file, new);
    snprintf(line, sizeof line, "=%s %s\n", strrchr(old, '/') + 1, to);
    note(file, line);
    int done = real(old, new);
    pthread_mutex_unlock(&lock);
    return done;
}

int renameat(int old_dir, const char *old, int new_dir, const char *new) {
    REAL(renameat);
    int plain = old_dir == AT_FDCWD && new_dir == AT_FDCWD;
    return plain ? rename(old, new) : real(old_dir, old, new_dir, new);
}

int statvfs64(const char *path, struct statvfs64 *disk) {
    REAL(statvfs64);
    int done = real(path, disk);
    if (done || !is_below(path)) return done;
    pthread_mutex_lock(&lock);
    int64_t left = room_left(-1);
    pthread_mutex_unlock(&lock);
    if (left != INT64_MAX) disk->f_bavail = disk->f_bfree = (uint64_t)left / disk->f_frsize;
    return done;
}

int statvfs(const char *path, struct statvfs *disk) {
    return statvfs64(path, (struct statvfs64 *)disk);
}
