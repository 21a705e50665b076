# shellcheck shell=bash disable=SC2154
# The local state folder, readable by its owner only, and the passphrase that encrypts the secrets in it.

ensure_state() {
  if state_is_local; then
    mkdir -p "$state_dir/backend"
    drop_torn_attributes
  fi
  if [ "${PULUMI_CONFIG_PASSPHRASE_FILE:-}" != "$state_dir/passphrase" ] || [ -s "$state_dir/passphrase" ]; then return; fi
  if grep -qs 'secure:' "$config"; then
    fail "$config holds secrets, and the passphrase for them is not here." \
      "Write it to .state/passphrase, or set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE, and run this again."
  fi
  if [ -n "$(find "$state_dir/backend" -name '*.json' -path '*/stacks/*' -print -quit 2>/dev/null)" ]; then
    fail "There is state in .state/backend, but its passphrase is gone." \
      "Put .state/passphrase back, or set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE."
  fi
  say "Local state: .state/, with a new passphrase in .state/passphrase (back both up)"
  (
    umask 077
    head -c 32 /dev/urandom | base64 | tr -d '\n' >"$state_dir/passphrase.new"
    mv "$state_dir/passphrase.new" "$state_dir/passphrase"
  )
}

# Pulumi's backend in a folder writes NAME.json.attrs beside each file, not in one step: a run killed in between leaves
# it empty, and every command on the stack fails with "failed to load checkpoint: EOF". Where it is missing nothing is lost.
drop_torn_attributes() { find "$state_dir/backend" -name '*.attrs' -type f -empty -delete; }
