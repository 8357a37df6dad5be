//! Classes of bytes (RFC 9051 §9).

/// `ATOM-CHAR = <any CHAR except atom-specials>`: printable ASCII without `( ) { SP % * " \ ]`.
pub(crate) const fn is_atom(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// `ASTRING-CHAR = ATOM-CHAR / resp-specials`: also `]`.
pub(crate) const fn is_astring(byte: u8) -> bool {
    is_atom(byte) || byte == b']'
}

/// `list-char = ATOM-CHAR / list-wildcards / resp-specials`: also `%`, `*` and `]`.
pub(crate) const fn is_list(byte: u8) -> bool {
    is_astring(byte) || matches!(byte, b'%' | b'*')
}

/// `tag = 1*<any ASTRING-CHAR except "+">`
pub(crate) const fn is_tag(byte: u8) -> bool {
    is_astring(byte) && byte != b'+'
}
