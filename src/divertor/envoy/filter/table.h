/* The two shared files the filter looks attackers up in; layout.py describes them, table.py writes the first.
 *
 * A file is mapped once per worker thread, so that a thread can let go of an old one without asking the others.
 */
#ifndef DIVERTOR_TABLE_H
#define DIVERTOR_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The number of a path, for `divertor_open`; -1 when there are too many, or the path is too long. Main thread. */
int divertor_file(const char *path, size_t length);

/* A mapped file. `capacity` (slots) was checked against its size; the word in the file is not asked again. */
typedef struct {
  uint64_t *words;
  uint64_t capacity;
} shared;

/* The file, or NULL: missing, damaged, or not ours. One that was superseded or replaced is opened anew. */
const shared *divertor_open(int file, bool recent);

/* Whether anybody is in it at all. */
bool divertor_any(const shared *file);

/* Whether this fingerprint is isolated at `now` (seconds since 1970). */
bool divertor_in_table(const shared *file, uint64_t fingerprint, uint64_t now);
bool divertor_in_recent(const shared *file, uint64_t fingerprint, uint64_t now);

/* Isolates a fingerprint until `expiry` in the recent file. */
void divertor_remember(const shared *file, uint64_t fingerprint, uint64_t expiry, uint64_t now);

#endif
