#include "table.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FILES = 16, MAX_PATH = 1024, HEADER_WORDS = 8, WAYS = 4 };
enum { MAGIC, CAPACITY, COUNT, SUPERSEDED };

static const uint64_t TABLE_MAGIC = 0x3130304c42545644ULL;  /* "DVTBL001" */
static const uint64_t RECENT_MAGIC = 0x3130304345525644ULL; /* "DVREC001" */

/* Paths are only ever added, by the main thread, before any configuration that names them reaches a worker. */
static char paths[MAX_FILES][MAX_PATH];
static int known;

static __thread struct {
  shared file;
  size_t size;
  dev_t device;
  ino_t inode;
  time_t looked;
} maps[MAX_FILES];

int divertor_file(const char *path, size_t length) {
  if (length == 0 || length >= MAX_PATH || memchr(path, 0, length)) return -1;
  for (int i = 0; i < known; i++)
    if (strlen(paths[i]) == length && memcmp(paths[i], path, length) == 0) return i;
  if (known == MAX_FILES) return -1;
  memcpy(paths[known], path, length);
  paths[known][length] = 0;
  return known++;
}

static uint64_t load(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
static void store(uint64_t *at, uint64_t word) { __atomic_store_n(at, word, __ATOMIC_RELEASE); }

/* A file that is cut short or not ours is as good as none: no lookup may run past its end. */
static bool sound(const uint64_t *words, size_t size, bool recent) {
  uint64_t capacity = words[CAPACITY];
  return words[MAGIC] == (recent ? RECENT_MAGIC : TABLE_MAGIC) && capacity >= WAYS &&
         (capacity & (capacity - 1)) == 0 && capacity < (1ULL << 40) &&
         (HEADER_WORDS + capacity * 2) * sizeof(uint64_t) <= size;
}

/* Maps what is under the path now; if that is no good, what was mapped before stays. */
static void map(int file, bool recent) {
  int fd = open(paths[file], (recent ? O_RDWR : O_RDONLY) | O_CLOEXEC);
  if (fd < 0) return;
  struct stat status;
  if (fstat(fd, &status) == 0 && status.st_size >= (off_t)(HEADER_WORDS * sizeof(uint64_t))) {
    size_t size = (size_t)status.st_size;
    uint64_t *words = mmap(NULL, size, PROT_READ | (recent ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
    if (words != MAP_FAILED && !sound(words, size, recent)) {
      munmap(words, size);
    } else if (words != MAP_FAILED) {
      if (maps[file].file.words) munmap(maps[file].file.words, maps[file].size);
      maps[file].file = (shared){words, words[CAPACITY]};
      maps[file].size = size;
      maps[file].device = status.st_dev;
      maps[file].inode = status.st_ino;
    }
  }
  close(fd);
}

static bool is_current(int file) {
  struct stat status;
  if (stat(paths[file], &status) != 0) return true; /* gone: what we have is the last that was known */
  return status.st_dev == maps[file].device && status.st_ino == maps[file].inode;
}

const shared *divertor_open(int file, bool recent) {
  if (file < 0 || file >= known) return NULL;
  const shared *open = &maps[file].file;
  bool superseded = open->words && load(open->words + SUPERSEDED);
  time_t now = time(NULL);
  if (!superseded && now == maps[file].looked) return open->words ? open : NULL;
  /* Once a second the path is looked at, because a writer may die between renaming a new file over it and
   * marking the old one, and somebody may delete the file. */
  maps[file].looked = now;
  if (!open->words || superseded || !is_current(file)) map(file, recent);
  return open->words ? open : NULL;
}

bool divertor_any(const shared *file) { return load(file->words + COUNT) != 0; }

static bool live(uint64_t meta, uint64_t now) { return (meta >> 32) > now; }

bool divertor_in_table(const shared *file, uint64_t fingerprint, uint64_t now) {
  uint64_t mask = file->capacity - 1, slot = fingerprint & mask;
  for (uint64_t tried = 0; tried <= mask; tried++, slot = (slot + 1) & mask) {
    const uint64_t *at = file->words + HEADER_WORDS + slot * 2;
    uint64_t found = load(at);
    if (found == fingerprint) return live(load(at + 1), now);
    if (found == 0) return false;
  }
  return false;
}

static uint64_t *place_of(const shared *file, uint64_t fingerprint) {
  uint64_t groups = file->capacity / WAYS;
  return file->words + HEADER_WORDS + (fingerprint & (groups - 1)) * WAYS * 2;
}

bool divertor_in_recent(const shared *file, uint64_t fingerprint, uint64_t now) {
  const uint64_t *at = place_of(file, fingerprint);
  for (int way = 0; way < WAYS; way++, at += 2)
    if (load(at) == fingerprint && live(load(at + 1), now)) return true;
  return false;
}

/* Several workers may write here at once. Each word is stored whole; should two attackers race for one place,
 * the loser is still recorded by the control plane a moment later. Nobody is forgotten for somebody new: an
 * attacker could make room for himself. The agent clears a place as soon as its key is in the table. */
void divertor_remember(const shared *file, uint64_t fingerprint, uint64_t expiry, uint64_t now) {
  uint64_t *base = place_of(file, fingerprint);
  uint64_t *choice = NULL;
  for (int way = WAYS - 1; way >= 0; way--)
    if (!live(load(base + way * 2 + 1), now)) choice = base + way * 2;
  for (int way = 0; way < WAYS; way++)
    if (load(base + way * 2) == fingerprint) choice = base + way * 2;
  if (!choice) return;
  if (load(choice) != fingerprint) store(choice, 0);
  store(choice + 1, expiry << 32);
  store(choice, fingerprint);
  store(file->words + COUNT, 1);
}
