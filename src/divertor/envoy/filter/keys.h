/* What an attacker is recognised by, as text taken from a request: pure functions on bounded memory. */
#ifndef DIVERTOR_KEYS_H
#define DIVERTOR_KEYS_H

#include "abi.h"

/* Bytes of a key that count: a browser's limit for one cookie. */
#define MAX_VALUE 4096

/* SipHash-1-3 (Aumasson and Bernstein, 2012) of the first MAX_VALUE bytes; never 0. */
uint64_t divertor_fingerprint(uint64_t k0, uint64_t k1, const char *at, size_t length);

/* The next value of the cookie called `name` in a Cookie header, from `*from` on, as an application would read
 * it: outer quotes dropped, and inside quotes \ooo and \c resolved, because an attacker may write the same
 * session in another way. `store` (MAX_VALUE bytes) holds a value that had to be rewritten. Answers false at
 * the end; else moves `*from` past the value. */
bool divertor_next_cookie(view header, view name, size_t *from, char *store, view *value);

/* The name and value of a Set-Cookie header; false if it has none. `store` as above. */
bool divertor_set_cookie(view header, char *store, view *name, view *value);

/* An address without its port: `192.0.2.1:80` and `[2001:db8::1]:80`. */
view divertor_address(view text);

#endif
