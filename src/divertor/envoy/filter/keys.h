/* What an attacker is recognised by, as text taken from a request: pure functions on bounded memory. */
#ifndef DIVERTOR_KEYS_H
#define DIVERTOR_KEYS_H

#include "abi.h"

/* Bytes of a key that count: a browser's limit for one cookie. */
#define MAX_VALUE 4096

/* SipHash-1-3 (Aumasson and Bernstein, 2012) of the first MAX_VALUE bytes; never 0. */
uint64_t divertor_fingerprint(uint64_t k0, uint64_t k1, const char *at, size_t length);

/* The next value of the cookie called `name` in a Cookie header, from `*from` on. Applications read the header in
 * different ways: some take a blank or a comma for the end of a cookie, some trim what Unicode calls white
 * space, some resolve %XX in names, and outer quotes with \ooo and \c inside. So every place where `name` stands
 * before an equals sign counts, and an attacker cannot write his session in a way that only his application
 * understands. `store` (MAX_VALUE bytes) holds a value that had to be rewritten. Answers false at the end; else
 * moves `*from` on. */
bool divertor_next_cookie(view header, view name, size_t *from, char *store, view *value);

/* What else the value of a cookie, or (2) a bearer token, may mean: with %XX and + resolved (1), up to a blank, comma or closing quote (2).
 * False when that is nothing else. `store` as above. Reading 0 is the value itself. */
enum { READINGS = 3 };
bool divertor_reading(view value, int which, char *store, view *reading);

/* Whether a cookie's value can mean nothing else than itself: it holds no mark that any reading looks for. */
bool divertor_is_plain(view value);

/* The name and value of a Set-Cookie header; false if it has none. `store` as above. */
bool divertor_set_cookie(view header, char *store, view *name, view *value);

/* `text` without the white space around it, as generous as the most generous application. */
view divertor_trimmed(view text);

/* An IPv4 address that is written as an IPv6 one (`::ffff:192.0.2.1`) as itself: the same client, and no neighbour of
 * everybody else who is written so. */
view divertor_address(view address);

/* The network an address is in, `192.0.2.0/24`: so many bits of an IPv4, so many of an IPv6 address. Empty for what
 * is no address. `store`: MAX_NETWORK bytes. */
enum { MAX_NETWORK = 64 };
view divertor_network(view address, const int bits[2], char *store);

#endif
