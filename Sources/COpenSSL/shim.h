// OpenSSL 3 as Swift sees it: TLS for ElemtaReactor; digests and the comparison in constant time for
// ElemtaAuthentication.
#ifndef ELEMTA_COPENSSL_SHIM_H
#define ELEMTA_COPENSSL_SHIM_H

// Before everything else, as in CLibevent: OpenSSL's headers end up in <sys/select.h> too.
#include <sys/select.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

// Macros that are made of other macros, which Swift doesn't import.
static const uint64_t elemta_SSL_OP_NO_COMPRESSION = SSL_OP_NO_COMPRESSION;
static const uint64_t elemta_SSL_OP_NO_RENEGOTIATION = SSL_OP_NO_RENEGOTIATION;

// A macro that casts the callback's type away, for which Swift has no cast that it calls safe.
static inline void elemta_SSL_CTX_set_servername(
    SSL_CTX *context, int (*callback)(SSL *, int *, void *)) {
    SSL_CTX_set_tlsext_servername_callback(context, callback);
}

#endif
