#include "record.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const uint32_t SPOOL_MAGIC = 0x31525644; /* "DVR1" */
/* Bytes of the spool, of everything that is being recorded at once, and of one record besides its bodies: who is
 * recorded is an attacker, and must not fill the disk or the memory. */
static const uint64_t MAX_SPOOL = 64 << 20, MAX_MEMORY = 64 << 20, MAX_RECORD = 256 << 10;

struct buffer {
  char *at;
  size_t length, room;
};

struct record {
  char *path;
  struct buffer fields, bodies[2];
  uint64_t limit, sizes[2], start, charged;
};

static uint64_t charged, lost;

uint64_t divertor_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static bool charge(struct record *record, uint64_t bytes) {
  if (__atomic_add_fetch(&charged, bytes, __ATOMIC_RELAXED) > MAX_MEMORY) {
    __atomic_sub_fetch(&charged, bytes, __ATOMIC_RELAXED);
    return false;
  }
  record->charged += bytes;
  return true;
}

static bool append(struct record *record, struct buffer *to, const char *at, size_t length, uint64_t most) {
  if (to->length + length > most) return false;
  if (to->length + length > to->room) {
    size_t room = to->room ? to->room * 2 : 2048;
    while (room < to->length + length) room *= 2;
    if (!charge(record, room - to->room)) return false;
    char *grown = realloc(to->at, room);
    if (!grown) return false;
    to->at = grown;
    to->room = room;
  }
  if (length) memcpy(to->at + to->length, at, length);
  to->length += length;
  return true;
}

static void little(char *to, uint64_t word, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) to[i] = (char)(word >> (8 * i));
}

/* Two parts, because a header is a name and a value. A field that does not fit is left out as a whole. */
static void field(struct record *record, enum tag tag, view first, view second, bool pair, uint64_t most) {
  size_t before = record->fields.length, length = first.length + second.length + (pair ? 1 : 0);
  char head[5] = {(char)tag};
  little(head + 1, length, 4);
  if (append(record, &record->fields, head, sizeof head, most) &&
      append(record, &record->fields, first.at, first.length, most) &&
      (!pair || append(record, &record->fields, "", 1, most)) &&
      append(record, &record->fields, second.at, second.length, most))
    return;
  record->fields.length = before;
}

struct record *divertor_record(uint64_t body, const char *path) {
  struct record *record = calloc(1, sizeof *record);
  char head[8] = {0};
  if (!record) return NULL;
  record->limit = body;
  record->start = divertor_now();
  record->path = strdup(path);
  if (!record->path || !charge(record, sizeof *record) || !append(record, &record->fields, head, sizeof head, MAX_RECORD)) {
    __atomic_add_fetch(&lost, 1, __ATOMIC_RELAXED);
    divertor_record_free(record);
    return NULL;
  }
  divertor_record_number(record, START, record->start);
  return record;
}

void divertor_record_text(struct record *record, enum tag tag, view value) {
  field(record, tag, value, (view){NULL, 0}, false, MAX_RECORD);
}

void divertor_record_number(struct record *record, enum tag tag, uint64_t number) {
  char bytes[8];
  little(bytes, number, sizeof bytes);
  divertor_record_text(record, tag, (view){bytes, sizeof bytes});
}

void divertor_record_header(struct record *record, enum tag tag, view name, view value) {
  field(record, tag, name, value, true, MAX_RECORD);
}

void divertor_record_body(struct record *record, bool answer, view piece) {
  struct buffer *body = &record->bodies[answer];
  record->sizes[answer] += piece.length;
  size_t room = record->limit > body->length ? (size_t)(record->limit - body->length) : 0;
  append(record, body, piece.at, piece.length < room ? piece.length : room, record->limit);
}

static void store(const struct record *record) {
  int file = open(record->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  struct stat status;
  if (file < 0) {
    __atomic_add_fetch(&lost, 1, __ATOMIC_RELAXED);
    return;
  }
  if (fstat(file, &status) != 0 || (uint64_t)status.st_size + record->fields.length > MAX_SPOOL ||
      write(file, record->fields.at, record->fields.length) != (ssize_t)record->fields.length)
    __atomic_add_fetch(&lost, 1, __ATOMIC_RELAXED); /* a half-written one is skipped by the reader */
  close(file);
}

void divertor_record_write(struct record *record) {
  for (int answer = 0; answer < 2; answer++) {
    view kept = {record->bodies[answer].at, record->bodies[answer].length};
    uint64_t most = MAX_RECORD + 2 * record->limit + 64;
    if (kept.length) field(record, answer ? ANSWER_BODY : ASKED_BODY, kept, (view){NULL, 0}, false, most);
  }
  divertor_record_number(record, ASKED_SIZE, record->sizes[0]);
  divertor_record_number(record, ANSWER_SIZE, record->sizes[1]);
  divertor_record_number(record, DURATION, divertor_now() - record->start);
  uint64_t missing = __atomic_load_n(&lost, __ATOMIC_RELAXED);
  if (missing) divertor_record_number(record, LOST, missing);
  little(record->fields.at, SPOOL_MAGIC, 4);
  little(record->fields.at + 4, record->fields.length - 8, 4);
  store(record);
  divertor_record_free(record);
}

void divertor_record_free(struct record *record) {
  if (!record) return;
  __atomic_sub_fetch(&charged, record->charged, __ATOMIC_RELAXED);
  free(record->path);
  free(record->fields.at);
  free(record->bodies[0].at);
  free(record->bodies[1].at);
  free(record);
}
