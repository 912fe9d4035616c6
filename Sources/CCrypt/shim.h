// libxcrypt, which reckons the password hashes that Unix systems keep.
#ifndef ELEMTA_CCRYPT_SHIM_H
#define ELEMTA_CCRYPT_SHIM_H

#include <crypt.h>

// Swift doesn't import arrays as long as those in struct crypt_data, so it can't ask for its size.
enum { elemta_crypt_data_size = sizeof(struct crypt_data) };

#endif
