// Whose usage a dashboard token opens, as the token itself says.

/**
 * The `sub` of a JSON Web Token; undefined for an operator's token, and for whatever is no such token. Nothing is verified: it only says what
 * to ask for, and the service answers by the signature.
 */
export function tokenSubject(token: string): string | undefined {
  const [, claims, signature] = token.split(".");
  if (claims === undefined || signature === undefined) return undefined;
  try {
    const bytes = Uint8Array.from(atob(claims.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown };
    return typeof sub === "string" && sub !== "" ? sub : undefined;
  } catch {
    return undefined;
  }
}
