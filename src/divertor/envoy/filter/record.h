/* One exchange of an attacker's, as it is written to the spool: bounded, and whole or not at all.
 *
 * Little endian: magic, bytes that follow, then fields of tag (1 byte), length (4), bytes. recording/ reads it.
 */
#ifndef DIVERTOR_RECORD_H
#define DIVERTOR_RECORD_H

#include "abi.h"

enum tag {
  START = 1, DURATION, KIND, SCOPE, BY, ADDED, METHOD, AUTHORITY, PATH, SCHEME, ASKED_HEADER, ASKED_BODY, ASKED_SIZE,
  STATUS, ANSWER_HEADER, ANSWER_BODY, ANSWER_SIZE, REQUEST_ID, CLIENT, LOST
};

struct record;

/* NULL when there is no memory, or when too much is being recorded already. `body`: bytes kept of each body; `path`:
 * the spool it will be appended to. */
struct record *divertor_record(uint64_t body, const char *path);
void divertor_record_text(struct record *record, enum tag tag, view value);
void divertor_record_number(struct record *record, enum tag tag, uint64_t number);
/* `name`, a zero byte, `value`. */
void divertor_record_header(struct record *record, enum tag tag, view name, view value);
/* A piece of a body: what fits is kept, all of it counts. */
void divertor_record_body(struct record *record, bool answer, view piece);
/* Appends it to the spool, unless that has grown too large, and releases it. */
void divertor_record_write(struct record *record);
void divertor_record_free(struct record *record);

/* Microseconds since 1970. */
uint64_t divertor_now(void);

#endif
