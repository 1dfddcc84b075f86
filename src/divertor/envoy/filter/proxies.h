/* Who the client is behind proxies that are trusted: pure functions on bounded memory. */
#ifndef DIVERTOR_PROXIES_H
#define DIVERTOR_PROXIES_H

#include "abi.h"

/* An IPv6 address; an IPv4 one is mapped into ::ffff:0:0/96. */
typedef struct {
  unsigned char at[16];
} address;

struct network {
  address base;
  int bits; /* of 128 */
};

/* What marks this configuration among the others of as a request arrives. */
enum { PROXIES = 16 };
struct proxies {
  int kind;
  bool secure; /* the connection is TLS */
  size_t count;
  struct network trusted[];
};

/* Bytes of a rewritten X-Forwarded-For; Envoy takes no longer headers. */
enum { MAX_FORWARDED = 64 << 10 };
/* Entries that are looked at, from the right. A request passes a few proxies, and never so many. */
enum { MAX_HOPS = 64 };

/* From lines: `https` or `http`, then networks such as `10.0.0.0/8`. Memory from malloc; NULL: not understood. */
struct proxies *divertor_proxies(view lines);

/* Whether the peer is one of them. */
bool divertor_trusted(const struct proxies *proxies, view peer);

/* X-Forwarded-For so that its last entry is the client: the last one in it, seen from us, that is none of the proxies
 * (the farthest proxy, if nobody else is there). What is no address ends the search: before it nobody is known.
 * `peer` is who the connection is from; `store` has MAX_FORWARDED bytes. Empty if `peer` is no address. */
view divertor_forwarded(const struct proxies *proxies, view peer, view forwarded, char *store);

/* All that is done to a request. */
void divertor_proxies_apply(const struct proxies *proxies, void *request);

#endif
