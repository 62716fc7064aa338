//! Expressions of DynamoDB: what a write sets, and on what condition. Every name and value is passed by placeholder,
//! so that no attribute's name can be a reserved word.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

/// Attributes with longer names, which hold a task type, get a number for a placeholder: an expression may have 4 KB.
const LONG: usize = 8;

/// What a write changes and the conditions that it is bound to, all of which must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expression {
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
    sets: Vec<String>,
    removes: Vec<String>,
    adds: Vec<String>,
    deletes: Vec<String>,
    conditions: Vec<String>,
}

impl Expression {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn name(&mut self, attribute: &str) -> String {
        if attribute.len() > LONG {
            let known = self.names.iter().find(|(_, known)| *known == attribute);
            if let Some((placeholder, _)) = known {
                return placeholder.clone();
            }
            // No name is removed, so that the number is a new one; no short name has this form.
            let placeholder = format!("#n_{}", self.names.len());
            self.names.insert(placeholder.clone(), attribute.to_owned());
            return placeholder;
        }
        let mut placeholder = String::with_capacity(attribute.len() + 1);
        placeholder.push('#');
        placeholder.extend(attribute.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
        // Two names that differ in odd characters only are told apart by a number.
        while self.names.get(&placeholder).is_some_and(|known| known != attribute) {
            placeholder.push('x');
        }
        self.names.insert(placeholder.clone(), attribute.to_owned());
        placeholder
    }

    fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    pub(crate) fn set(mut self, attribute: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.sets.push(format!("{name} = {value}"));
        self
    }

    /// Sets an attribute, or removes it.
    pub(crate) fn put(self, attribute: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.set(attribute, value),
            None => self.remove(attribute),
        }
    }

    /// Sets an attribute, or leaves it as it is.
    pub(crate) fn maybe(self, attribute: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.set(attribute, value),
            None => self,
        }
    }

    pub(crate) fn remove(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.removes.push(name);
        self
    }

    /// Sets an attribute unless the item has it.
    pub(crate) fn set_if_absent(mut self, attribute: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.sets.push(format!("{name} = if_not_exists({name}, {value})"));
        self
    }

    /// Appends to a list that is there.
    pub(crate) fn append(mut self, attribute: &str, entry: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(AttributeValue::L(vec![entry])));
        self.sets.push(format!("{name} = list_append({name}, {value})"));
        self
    }

    /// Adds to a number, or to a set.
    pub(crate) fn add(mut self, attribute: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.adds.push(format!("{name} {value}"));
        self
    }

    /// Takes values out of a set.
    pub(crate) fn take_out(mut self, attribute: &str, values: AttributeValue) -> Self {
        let (name, values) = (self.name(attribute), self.value(values));
        self.deletes.push(format!("{name} {values}"));
        self
    }

    pub(crate) fn when(mut self, attribute: &str, is: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.conditions.push(format!("{name} {is} {value}"));
        self
    }

    pub(crate) fn when_absent(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.conditions.push(format!("attribute_not_exists({name})"));
        self
    }

    pub(crate) fn when_present(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.conditions.push(format!("attribute_exists({name})"));
        self
    }

    /// The condition that an attribute is as it was read: this value, or missing.
    pub(crate) fn when_still(self, attribute: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.when(attribute, "=", value),
            None => self.when_absent(attribute),
        }
    }

    /// The condition that an attribute is missing or holds against a value.
    pub(crate) fn when_absent_or(mut self, attribute: &str, is: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.conditions.push(format!("(attribute_not_exists({name}) OR {name} {is} {value})"));
        self
    }

    /// The condition that an attribute is missing, or another one is there.
    pub(crate) fn when_absent_or_present(mut self, missing: &str, there: &str) -> Self {
        let (missing, there) = (self.name(missing), self.name(there));
        self.conditions.push(format!("(attribute_not_exists({missing}) OR attribute_exists({there}))"));
        self
    }

    /// The condition that an attribute is missing or does not lie from one value to another, both included.
    pub(crate) fn when_absent_or_outside(
        mut self,
        attribute: &str,
        from: AttributeValue,
        to: AttributeValue,
    ) -> Self {
        let (name, from, to) = (self.name(attribute), self.value(from), self.value(to));
        self.conditions.push(format!("(attribute_not_exists({name}) OR NOT {name} BETWEEN {from} AND {to})"));
        self
    }

    /// The condition that a set holds none of these values, of which there are some. A set that is missing holds none. One
    /// `NOT` for all: an expression may have 300 operators.
    pub(crate) fn when_without_any(
        mut self,
        attribute: &str,
        values: impl IntoIterator<Item = AttributeValue>,
    ) -> Self {
        let name = self.name(attribute);
        let has = |value| format!("contains({name}, {})", self.value(value));
        let has: Vec<_> = values.into_iter().map(has).collect();
        self.conditions.push(format!("NOT ({})", has.join(" OR ")));
        self
    }

    /// The condition that a set holds a value.
    pub(crate) fn when_with(mut self, attribute: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.conditions.push(format!("contains({name}, {value})"));
        self
    }

    /// The condition that a set holds a value, or has fewer than so many.
    pub(crate) fn when_room(mut self, attribute: &str, value: AttributeValue, most: usize) -> Self {
        let most = AttributeValue::N(most.to_string());
        let (name, value, most) = (self.name(attribute), self.value(value), self.value(most));
        self.conditions.push(format!(
            "(attribute_not_exists({name}) OR size({name}) < {most} OR contains({name}, {value}))"
        ));
        self
    }

    /// The condition that a set has at least so many values, if that is one or more.
    pub(crate) fn when_full(mut self, attribute: &str, most: u32) -> Self {
        if most > 0 {
            let most = AttributeValue::N(most.to_string());
            let (name, most) = (self.name(attribute), self.value(most));
            self.conditions.push(format!("size({name}) >= {most}"));
        }
        self
    }

    /// The condition that a set has no more than so many values. A set that is missing has none.
    pub(crate) fn when_set_within(mut self, attribute: &str, most: AttributeValue) -> Self {
        let (name, most) = (self.name(attribute), self.value(most));
        self.conditions.push(format!("(attribute_not_exists({name}) OR size({name}) <= {most})"));
        self
    }

    /// The condition that an attribute is one of these.
    pub(crate) fn when_in(mut self, attribute: &str, values: Vec<AttributeValue>) -> Self {
        let name = self.name(attribute);
        let values: Vec<_> = values.into_iter().map(|value| self.value(value)).collect();
        self.conditions.push(format!("{name} IN ({})", values.join(", ")));
        self
    }

    pub(crate) fn names(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    pub(crate) fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }

    /// What the write changes.
    pub(crate) fn update(&self) -> String {
        let part = |word: &str, entries: &[String]| match entries {
            [] => String::new(),
            entries => format!("{word} {} ", entries.join(", ")),
        };
        let (sets, removes) = (part("SET", &self.sets), part("REMOVE", &self.removes));
        [sets, removes, part("ADD", &self.adds), part("DELETE", &self.deletes)].concat().trim().to_owned()
    }

    /// The conditions, as one.
    pub(crate) fn condition(&self) -> Option<String> {
        (!self.conditions.is_empty()).then(|| self.conditions.join(" AND "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::n;

    #[test]
    fn an_expression_names_everything_by_placeholder() {
        let expression =
            Expression::new().set("to", n(1)).remove("at").add("x:y", n(2)).when("ev", "=", n(3));
        assert_eq!(expression.update(), "SET #to = :v0 REMOVE #at ADD #x_y :v1");
        assert_eq!(expression.condition().unwrap(), "#ev = :v2");
        assert_eq!(expression.names().unwrap()["#x_y"], "x:y");
    }

    #[test]
    fn names_that_look_alike_are_told_apart() {
        let expression = Expression::new().add("a:b", n(1)).add("a.b", n(1));
        assert_eq!(expression.names().unwrap().len(), 2);
    }

    #[test]
    fn long_names_cost_few_bytes_of_an_expression_and_are_told_apart() {
        let types: Vec<_> = (0..100).map(|number| format!("0:{}{number}", "long".repeat(30))).collect();
        let all = types.iter().chain(&types).fold(Expression::new(), |all, name| all.add(name, n(1)));
        assert_eq!(all.names().unwrap().len(), types.len());
        assert!(all.update().len() < 4_096, "{}", all.update().len());
    }
}
