/* The part of Envoy's dynamic-module interface that the isolation filter uses, declared here in our own words.
 *
 * Envoy loads a shared object and calls its `envoy_dynamic_module_on_*` functions; the object calls back into
 * the `envoy_dynamic_module_callback_*` functions that the Envoy binary exports. A `view` is memory that Envoy
 * owns, valid until the current hook returns or the header map is changed; a `text` is memory of ours that
 * Envoy copies. The version is the one Envoy 1.40 announces; an older or newer one only makes it log a warning.
 */
#ifndef DIVERTOR_ABI_H
#define DIVERTOR_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ABI_VERSION "v0.2.0"

typedef struct {
  const char *at;
  size_t length;
} view;

typedef view text;

typedef struct {
  view name, value;
} header_field;

enum header_map { REQUEST_HEADERS = 0, RESPONSE_HEADERS = 2 };
enum body { REQUEST_BODY = 0, RESPONSE_BODY = 2 }; /* the chunk that has just come */
enum header_status { HEADERS_CONTINUE = 0 };
enum body_status { BODY_CONTINUE = 0 };
enum trailers_status { TRAILERS_CONTINUE = 0 };
enum log_level { LOG_WARN = 3, LOG_ERROR = 4 };

extern bool envoy_dynamic_module_callback_http_get_header(void *stream, int map, text name, view *value,
                                                          size_t index, size_t *count);
/* A null value removes the header. */
extern bool envoy_dynamic_module_callback_http_set_header(void *stream, int map, text name, text value);
extern const void *envoy_dynamic_module_callback_get_most_specific_route_config(void *stream);
extern size_t envoy_dynamic_module_callback_http_get_headers_size(void *stream, int map);
extern bool envoy_dynamic_module_callback_http_get_headers(void *stream, int map, header_field *fields);
extern size_t envoy_dynamic_module_callback_http_get_body_chunks_size(void *stream, int body);
extern bool envoy_dynamic_module_callback_http_get_body_chunks(void *stream, int body, view *chunks);
extern void envoy_dynamic_module_callback_http_set_dynamic_metadata_string(void *stream, text space, text key,
                                                                           text value);
extern void envoy_dynamic_module_callback_log(int level, text message);

/* As a request arrives. */
extern size_t envoy_dynamic_module_callback_early_header_mutation_get_headers_size(void *request);
extern bool envoy_dynamic_module_callback_early_header_mutation_get_headers(void *request, header_field *fields);
extern bool envoy_dynamic_module_callback_early_header_mutation_add_header(void *request, text name, text value);
extern bool envoy_dynamic_module_callback_early_header_mutation_remove_header(void *request, text name);

/* While routing: `question` is valid until the hook returns. */
extern bool envoy_dynamic_module_callback_matcher_data_input_get_header_value(void *question, int map, text name,
                                                                              view *value, size_t index,
                                                                              size_t *count);
extern void envoy_dynamic_module_callback_matcher_data_input_set_result(void *question, text result);

#endif
