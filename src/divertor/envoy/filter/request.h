/* What a request says about who sent it. It is asked while routing and by the filter, which Envoy offers under
 * different functions: a `source` hides which. */
#ifndef DIVERTOR_REQUEST_H
#define DIVERTOR_REQUEST_H

#include "keys.h"
#include "settings.h"

typedef struct {
  bool (*get)(void *at, int map, text name, view *value, size_t index, size_t *count);
  void *at;
} source;

/* One of the request's headers; false when there are not that many. */
bool divertor_header(source from, text name, size_t index, view *value);

/* Goes through the values a request holds for a key, until `visit` answers true. Answers true as well when there
 * are too many to look at: whoever sends those hides something. */
typedef bool visitor(void *context, const struct key *key, view value);
bool divertor_each_value(source from, const struct key *key, visitor *visit, void *context);

/* Goes through the fingerprints of what a value may mean to an application, until `visit` answers true. */
typedef bool fingerprint_visitor(void *context, uint64_t fingerprint);
bool divertor_each_fingerprint(const struct key *key, view value, fingerprint_visitor *visit, void *context);

/* The key by which a client is isolated, and its value (valid until the next call in this thread); NULL: none. */
const struct key *divertor_isolated_by(source from, const struct route *route, view *value);

/* Whether the request carries the route's divert token. */
bool divertor_is_diverted(source from, const struct route *route);
bool divertor_is_token(view value, const struct route *route);

#endif
