/* What the routes tell the filter about one scope: lines `name value`, written by isolating.py. */
#ifndef DIVERTOR_SETTINGS_H
#define DIVERTOR_SETTINGS_H

#include "abi.h"

enum { MAX_KEYS = 8, MAX_TEXT = 512 };

enum kind { COOKIE, HEADER, ADDRESS, PREFIX, BEARER, JA3, JA4 };

struct key {
  enum kind kind;
  uint64_t k0, k1;
  char name[MAX_TEXT]; /* of a cookie or header; `24/64` of a prefix */
  size_t length;
  int bits[2]; /* of a prefix: of an IPv4 and of an IPv6 address */
};

struct route {
  char scope[MAX_TEXT], token[MAX_TEXT], spool[MAX_TEXT];
  int table, recent;
  uint64_t seconds; /* an isolation lasts; 0: until removed */
  uint64_t body;    /* bytes of a body that are recorded; `spool` empty: nothing is */
  bool simulate;
  size_t keys;
  struct key key[MAX_KEYS];
};

/* NULL, and a line in Envoy's log, when a line cannot be understood. `free` releases it. */
struct route *divertor_settings(view text);

/* The name of a kind, as in the settings. */
const char *divertor_kind(enum kind kind);

#endif
